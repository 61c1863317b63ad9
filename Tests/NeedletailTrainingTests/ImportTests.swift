import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Small models of each library's format, written by hand, whose answers can be computed by hand.
@Suite struct ImportTests {
  /// One XGBoost tree: column 0 < 1.5, missing values left; leaves −0.25 and 0.5.
  static func xgboost(
    objective: String = "reg:squarederror", baseScore: String = "5E-1", tree: String = Self.xgboostTree,
    parameters: String = #""num_class": "0", "num_feature": "2""#
  ) -> String {
    """
    {"learner": {"attributes": {}, "feature_names": [], "feature_types": [],
      "gradient_booster": {"name": "gbtree", "model": {
        "gbtree_model_param": {"num_trees": "1", "num_parallel_tree": "1"}, "tree_info": [0], "trees": [\(tree)]}},
      "learner_model_param": {"base_score": "\(baseScore)", \(parameters)},
      "objective": {"name": "\(objective)"}}, "version": [1, 7, 6]}
    """
  }

  static let xgboostTree = """
    {"left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [0, 0, 0],
     "split_conditions": [1.5, -0.25, 0.5], "default_left": [1, 0, 0], "split_type": [0, 0, 0],
     "tree_param": {"num_nodes": "3", "size_leaf_vector": "0"}}
    """

  /// One LightGBM tree: column 0 ≤ 1.5, NaN right; leaves −0.25 and 0.5.
  static func lightGBM(objective: String = "regression", decision: Int = 8, header: String = "") -> String {
    """
    tree
    version=v4
    num_class=1
    num_tree_per_iteration=1
    label_index=0
    max_feature_idx=1
    objective=\(objective)
    \(header)feature_names=a b
    feature_infos=[0:3] none

    Tree=0
    num_leaves=2
    num_cat=0
    split_feature=0
    threshold=1.5
    decision_type=\(decision)
    left_child=-1
    right_child=-2
    leaf_value=-0.25 0.5
    is_linear=0
    shrinkage=1


    end of trees

    pandas_categorical:null

    """
  }

  static func model(_ text: String, iterations: ImportSettings.Iterations = .best) throws -> ImportedModel {
    var settings = ImportSettings(model: try ModelID("m"))
    settings.iterations = iterations
    return try ModelImport.parse(Array(text.utf8), settings)
  }

  @Test func leavesKeepTheWeightOfTheRowsThatTheyWereTrainedOn() throws {
    let sums = Self.xgboostTree.replacing(#""default_left""#, with: #""sum_hessian": [10, 4, 6.5], "default_left""#)
    #expect(try Self.model(Self.xgboost(tree: sums)).ensemble.covers == [4, 6.5])
    #expect(try Self.model(Self.xgboost()).ensemble.covers.isEmpty)
    // A loss that is not convex has hessians below 0.
    let negative = sums.replacing("6.5", with: "-6.5")
    #expect(try Self.model(Self.xgboost(tree: negative)).ensemble.covers.isEmpty)
    #expect(throws: TrainingError.self) { try Self.model(Self.xgboost(tree: sums.replacing(", 6.5", with: ""))) }
    let counts = Self.lightGBM().replacing("is_linear=0", with: "leaf_count=3 7\nleaf_weight=1 2\nis_linear=0")
    #expect(try Self.model(counts).ensemble.covers == [3, 7], "rows, not hessians, as its own explanations")
  }

  /// Answers under a name for rows whose second column is 0.
  private func answers(_ text: String, _ name: String, for inputs: [Double]) throws -> [Double] {
    let definition = try Self.model(text).definition(labels: [], target: "y")
    let compiled = try CompiledModel(definition)
    let rows = inputs.map { [$0.isNaN ? Cell.missing : .number($0), .number(0)] }
    guard case .numbers(let numbers)? = try compiled.answers(for: rows).first(where: { $0.name == name })?.answer
    else { return [] }
    return numbers
  }

  @Test func xgboostGoesRightAtItsThresholdAndAddsTheBaseScore() throws {
    #expect(
      try answers(Self.xgboost(), "prediction", for: [1.49, 1.5, 1.51, .nan]) == [0.25, 1, 1, 0.25])
    // 1.5 − 2⁻⁵⁰ is 1.5 in fp32, in which XGBoost compares.
    #expect(try answers(Self.xgboost(), "prediction", for: [1.5 - 0x1p-50]) == [1])
  }

  @Test func xgboostsBaseScoreStandsInTheSpaceOfTheAnswers() throws {
    // logit(0.5) = 0; logit(0.8) = ln 4.
    let half = try answers(Self.xgboost(objective: "binary:logistic"), "raw", for: [0])
    #expect(half == [-0.25])
    let larger = try answers(Self.xgboost(objective: "binary:logistic", baseScore: "[8E-1]"), "raw", for: [0])
    #expect(abs(larger[0] - (Foundation.log(4) - 0.25)) < 1e-6)
    let counts = try answers(Self.xgboost(objective: "count:poisson", baseScore: "2"), "prediction", for: [0, 2])
    #expect(abs(counts[0] - 2 * Foundation.exp(-0.25)) < 1e-6)
    #expect(abs(counts[1] - 2 * Foundation.exp(0.5)) < 1e-6)
    // logitraw's score is a logit already.
    #expect(try answers(Self.xgboost(objective: "binary:logitraw"), "prediction", for: [0]) == [0.25])
  }

  @Test func xgboostAddsItsBaseScoreLastBefore13() throws {
    // In fp32, 1 + 2⁻²⁴ rounds to 1, and 2⁻²⁴ + 2⁻²⁴ is kept.
    func sum(_ version: String) throws -> [Double] {
      let tiny = Self.xgboostTree.replacingOccurrences(of: "-0.25", with: "5.9604644775390625e-8")
      let text = Self.xgboost(baseScore: "1", tree: "\(tiny), \(tiny)")
        .replacingOccurrences(of: #""num_trees": "1""#, with: #""num_trees": "2""#)
        .replacingOccurrences(of: #""tree_info": [0]"#, with: #""tree_info": [0, 0]"#)
      return try answers(text.replacingOccurrences(of: "[1, 7, 6]", with: version), "prediction", for: [0])
    }
    #expect(try sum("[1, 3, 0]") == [1])
    #expect(try sum("[1, 2, 1]") == [1 + 0x1p-23])
    // Its logitraw read the score as a probability until 1.3.0.
    for (version, expected) in [("[1, 3, 0]", -0.25), ("[1, 3, 1]", 0.25)] {
      let text = Self.xgboost(objective: "binary:logitraw").replacingOccurrences(of: "[1, 7, 6]", with: version)
      #expect(try answers(text, "prediction", for: [0]) == [expected])
    }
  }

  @Test func xgboostKeepsItsBaseScoreFromCertaintySince32() throws {
    func raw(_ score: String, _ version: String) throws -> [Double] {
      let text = Self.xgboost(objective: "binary:logistic", baseScore: score)
        .replacingOccurrences(of: "[1, 7, 6]", with: version)
      return try answers(text, "raw", for: [0])
    }
    let edge = Foundation.log(1e6)
    #expect(abs(try raw("1", "[3, 2, 0]")[0] - (edge - 0.25)) < 0.1)
    #expect(abs(try raw("0", "[3, 2, 0]")[0] - (-edge - 0.25)) < 0.1)
    #expect(abs(try raw("1E-8", "[3, 1, 0]")[0] - (-Foundation.log(1e8) - 0.25)) < 0.05)
    #expect(throws: TrainingError.self) { try raw("0", "[3, 1, 0]") }
  }

  @Test func everyObjectiveOfXGBoostIsKnownOrRefusedByName() throws {
    let known = [
      "reg:squarederror", "reg:squaredlogerror", "reg:logistic", "reg:pseudohubererror", "reg:absoluteerror",
      "reg:quantileerror", "reg:expectileerror", "reg:gamma", "reg:tweedie", "reg:linear", "binary:logistic",
      "binary:logitraw", "binary:hinge", "count:poisson", "survival:cox", "survival:aft", "rank:ndcg", "rank:map",
      "rank:pairwise",
    ]
    for objective in known { _ = try Self.model(Self.xgboost(objective: objective)) }
    let unknown = #expect(throws: TrainingError.self) { try Self.model(Self.xgboost(objective: "mylogistic")) }
    #expect(unknown?.message.contains(#"found "mylogistic""#) == true)
    // Several quantiles are sorted since 3.4, and several expectiles added up.
    func several(_ objective: String, _ version: String) -> String {
      Self.xgboost(objective: objective, parameters: #""num_class": "0", "num_feature": "2", "num_target": "2""#)
        .replacingOccurrences(of: "[1, 7, 6]", with: version)
        .replacingOccurrences(
          of: #""tree_info": [0], "trees": [\#(Self.xgboostTree)]"#,
          with:
            #""tree_info": [0, 1], "trees": [\#(Self.xgboostTree), \#(Self.xgboostTree)]"#
        )
        .replacingOccurrences(of: #""num_trees": "1""#, with: #""num_trees": "2""#)
    }
    #expect(try Self.model(several("reg:quantileerror", "[3, 2, 0]")).outputs == 2)
    for (objective, version) in [("reg:quantileerror", "[3, 4, 0]"), ("reg:expectileerror", "[3, 5, 0]")] {
      let error = #expect(throws: TrainingError.self) { try Self.model(several(objective, version)) }
      #expect(error?.message.contains("found 2 ") == true)
    }
  }

  @Test func xgboostsListedCategoriesGoRight() throws {
    let tree = Self.xgboostTree
      .replacingOccurrences(of: #""split_type": [0, 0, 0]"#, with: #""split_type": [1, 0, 0]"#)
      .replacingOccurrences(
        of: #""tree_param""#,
        with: """
          "categories": [1, 3], "categories_nodes": [0], "categories_segments": [0], "categories_sizes": [2],
          "tree_param"
          """
      )
    let found = try answers(Self.xgboost(tree: tree), "prediction", for: [0, 1, 2, 3, 40, -1, .nan])
    #expect(found == [0.25, 1, 0.25, 1, 0.25, 0.25, 0.25])
  }

  @Test func lightGBMGoesLeftAtItsThresholdInDoublePrecision() throws {
    let found = try answers(
      Self.lightGBM(), "prediction", for: [1.5, 1.5.nextUp, .nan, 0])
    #expect(found == [-0.25, 0.5, 0.5, -0.25])
  }

  @Test func lightGBMTreatsMissingValuesAsTheSplitSays() throws {
    // Type of decision: bit 1 is the default direction; bits 2 and 3 say what is missing: 0 none, 1 zeros, 2 NaN.
    #expect(try answers(Self.lightGBM(decision: 0), "prediction", for: [.nan, 0]) == [-0.25, -0.25])
    #expect(try answers(Self.lightGBM(decision: 4), "prediction", for: [.nan, 0, 1e-36]) == [0.5, 0.5, 0.5])
    #expect(try answers(Self.lightGBM(decision: 6), "prediction", for: [.nan, 0]) == [-0.25, -0.25])
    #expect(try answers(Self.lightGBM(decision: 10), "prediction", for: [.nan, 2]) == [-0.25, 0.5])
  }

  @Test func lightGBMsLinearLeavesAddTermsAndFallBackToTheirValues() throws {
    let text = Self.lightGBM().replacingOccurrences(
      of: "is_linear=0",
      with: "is_linear=1\nleaf_const=1 2\nnum_features=2 0\nleaf_features=0 1  \nleaf_coeff=0.5 -4  ")
    // Left: 1 + 0.5 a − 4 b, with b = 0. Right: 2. A missing `a` goes right, where nothing asks for it.
    #expect(try answers(text, "prediction", for: [1, -3, 2, .nan]) == [1.5, -0.5, 2, 2])
    let left = text.replacingOccurrences(of: "decision_type=8", with: "decision_type=10")
    #expect(try answers(left, "prediction", for: [.nan, 1]) == [-0.25, 1.5])
    // A tree of one leaf, as the first of a model that begins with the mean.
    let alone = Self.lightGBM()
      .replacingOccurrences(of: "num_leaves=2", with: "num_leaves=1")
      .replacingOccurrences(of: "leaf_value=-0.25 0.5", with: "leaf_value=7")
      .replacingOccurrences(
        of: "is_linear=0", with: "is_linear=1\nleaf_const=3\nnum_features=0\nleaf_features= \nleaf_coeff= ")
    #expect(try answers(alone, "prediction", for: [1]) == [3])
  }

  @Test func lightGBMsLinearTreesStayWithTheirLeavesWhateverTheOrderOfTheFile() throws {
    // Leaves 0 to 2 of the file are 2, 0, 1 in preorder.
    let text = Self.lightGBM().replacingOccurrences(
      of: """
        num_leaves=2
        num_cat=0
        split_feature=0
        threshold=1.5
        decision_type=8
        left_child=-1
        right_child=-2
        leaf_value=-0.25 0.5
        is_linear=0
        """,
      with: """
        num_leaves=3
        num_cat=0
        split_feature=0 0
        threshold=1.5 3
        decision_type=10 8
        left_child=-3 -1
        right_child=1 -2
        leaf_value=10 20 30
        is_linear=1
        leaf_const=100 200 300
        num_features=1 0 2
        leaf_features=0  0 1
        leaf_coeff=1  -1 5
        """)
    #expect(text.contains("leaf_const"))
    #expect(try answers(text, "prediction", for: [1, 2, 4, .nan]) == [299, 102, 200, 30])
  }

  @Test func lightGBMsLinksOfRootsAndIntensities() throws {
    let squares = try answers(Self.lightGBM(objective: "regression sqrt"), "prediction", for: [1, 2])
    #expect(squares == [-0.0625, 0.25])
    #expect(try answers(Self.lightGBM(objective: "huber sqrt"), "prediction", for: [1]) == [-0.0625])
    #expect(try answers(Self.lightGBM(objective: "regression sqrt"), "raw", for: [1, 2]) == [-0.25, 0.5])
    let intensities = try answers(Self.lightGBM(objective: "cross_entropy_lambda"), "prediction", for: [1, 2])
    for (found, sum) in zip(intensities, [-0.25, 0.5]) {
      #expect(abs(found - Foundation.log1p(Foundation.exp(sum))) < 1e-6)
    }
  }

  @Test func everyObjectiveOfLightGBMIsKnown() throws {
    // The list of LightGBM's documentation, "Parameters", `objective`.
    let one = [
      "regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie",
      "binary sigmoid:1", "cross_entropy", "cross_entropy_lambda", "lambdarank", "rank_xendcg",
    ]
    for objective in one { _ = try Self.model(Self.lightGBM(objective: objective)).definition(labels: [], target: "y") }
    for objective in ["multiclass num_class:2", "multiclassova num_class:2 sigmoid:1"] {
      let two = Self.lightGBM(objective: objective)
        .replacingOccurrences(of: "num_tree_per_iteration=1", with: "num_tree_per_iteration=2")
      let first = try #require(two.range(of: "Tree=0")).lowerBound
      let end = try #require(two.range(of: "end of trees")).lowerBound
      let whole = two[..<end] + two[first..<end] + two[end...]
      #expect(try Self.model(String(whole)).definition(labels: [], target: "y").labels.count == 2)
    }
    #expect(throws: TrainingError.self) { try Self.model(Self.lightGBM(objective: "regression_l7")) }
  }

  @Test func lightGBMsSigmoidScalesTheSum() throws {
    let found = try answers(Self.lightGBM(objective: "binary sigmoid:2"), "probabilities", for: [2])
    let expected = 1 / (1 + Foundation.exp(-2 * 0.5))
    #expect(abs(found[1] - expected) < 1e-6)
    #expect(abs(found[0] - (1 - expected)) < 1e-6)
  }

  @Test func categoriesOfPandasBelongToTheColumnsThatTheHeaderLeavesOpen() throws {
    func kinds(_ infos: String, _ lists: String, columns: [String] = []) throws -> [Feature.Kind] {
      let text = Self.lightGBM()
        .replacingOccurrences(of: "feature_infos=[0:3] none", with: "feature_infos=\(infos)")
        .replacingOccurrences(of: "pandas_categorical:null", with: "pandas_categorical:\(lists)")
      var settings = ImportSettings(model: try ModelID("m"))
      settings.categoryColumns = columns
      return try ModelImport.parse(Array(text.utf8), settings).features.map(\.kind)
    }
    let colours = Feature.Kind.categorical(categories: ["blue", "red"], unknown: .zeros)
    #expect(try kinds("[0:3] 0:1", #"[["blue","red"]]"#) == [.numeric, colours])
    // Nothing splits by the second column, but it is the only one that may have categories.
    #expect(try kinds("[0:3] none", #"[["blue","red"]]"#) == [.numeric, colours])
    // The first column is one of categories, and nothing splits by the second.
    #expect(try kinds("0:1 none", #"[["blue","red"]]"#) == [colours, .numeric])
    #expect(throws: TrainingError.self) { try kinds("none none", #"[["blue","red"]]"#) }
    #expect(try kinds("none none", #"[["blue","red"]]"#, columns: ["b"]) == [.numeric, colours])
    // The second column holds integers: the list has no name for the code 7.
    #expect(try kinds("0:1 0:1:7", #"[["blue","red"]]"#) == [colours, .numeric])
    // Codes that the list does not have belong to another column.
    #expect(throws: TrainingError.self) { try kinds("0:1:7 none", #"[["blue","red"]]"#) }
    // Ordered categories are compared as numbers.
    let ordered = Feature.Kind.categorical(categories: ["blue", "red"], unknown: .refuse)
    #expect(try kinds("[0:1] [0:3]", #"[["blue","red"]]"#, columns: ["a"]) == [ordered, .numeric])
  }

  @Test func aForestOfLightGBMIsAveraged() throws {
    var text = Self.lightGBM(header: "average_output\n")
    let first = try #require(text.range(of: "Tree=0")).lowerBound
    let tree = text[first..<(try #require(text.range(of: "end of trees")).lowerBound)]
    text = text.replacingOccurrences(
      of: "end of trees",
      with: tree.replacingOccurrences(of: "Tree=0", with: "Tree=1").replacingOccurrences(
        of: "leaf_value=-0.25 0.5", with: "leaf_value=1 2") + "end of trees")
    #expect(try answers(text, "prediction", for: [0, 2]) == [0.375, 1.25])
  }

  @Test func aModelOfEachLibraryBecomesABundle() throws {
    for name in ImportFixtures.names {
      var settings = ImportSettings(model: try ModelID("m"))
      settings.target = "y"
      let bundle = try ModelImport(path: ImportFixtures.path(name), settings: settings).run()
      let version = try #require(ModelVersion(1))
      #expect(try !bundle.encode(version: version, signing: []).isEmpty, "\(name)")
      #expect(!bundle.contents.golden.isEmpty, "\(name)")
    }
  }

  @Test func aModelThatRefusesMissingValuesBecomesABundleWithoutRows() throws {
    let text = String(decoding: try ImportFixtures.bytes("sklearn-forest.json"), as: UTF8.self)
    let refusing = text.replacingOccurrences(of: #""missing": "impute""#, with: #""missing": "refuse""#)
    #expect(refusing != text)
    let folder = try TemporaryDirectory()
    let path = try folder.write(refusing, to: "model.json")
    let bundle = try ModelImport(path: path, settings: ImportSettings(model: try ModelID("m"))).run()
    #expect(!bundle.contents.golden.isEmpty)
  }

  @Test func namesAndCategoriesComeAlong() throws {
    for name in ["xgboost.json", "xgboost.ubj", "catboost.json", "lightgbm.txt"] {
      let features = try ModelImport.parse(ImportFixtures.bytes(name), ImportSettings(model: ModelID("m"))).features
      #expect(features.map(\.name) == ["age", "income", "colour"], "\(name)")
      #expect(features[0].kind == .numeric)
      guard case .categorical(let categories, _) = features[2].kind else {
        Issue.record("\(name): expected a categorical feature")
        continue
      }
      // CatBoost's file has the categories that some tree asks about.
      #expect(name == "catboost.json" ? categories == ["red"] : categories == ["blue", "green", "red"], "\(name)")
    }
  }

  @Test func wordsForMissingValuesAreReadAsEverywhere() throws {
    let folder = try TemporaryDirectory()
    let model = try folder.write(Self.lightGBM(), to: "model.txt")
    let data = try folder.write("b, a\n0,1.5\n0, NA\n0,n/a\nfalse,TRUE\n", to: "rows.csv")
    let expected = try folder.write("prediction\n-0.25\n0.5\n0.5\n-0.25\n", to: "expected.csv")
    var settings = ImportSettings(model: try ModelID("m"))
    (settings.data, settings.expected) = (data, expected)
    let bundle = try ModelImport(path: model, settings: settings).run()
    #expect(bundle.agreement == "prediction: all 4 equal")
    #expect(
      bundle.contents.lineage?.dataSHA256 == "2734a0b8c439e6ad2fb080082e1837d34a21fe2878098b32bcee3f8b89b517bd")
  }

  @Test func anAnswerThatDiffersIsRefusedByItsRow() throws {
    let folder = try TemporaryDirectory()
    var settings = ImportSettings(model: try ModelID("m"))
    settings.data = try folder.write("a,b\n1,0\n2,0\n", to: "rows.csv")
    settings.expected = try folder.write("prediction\n-0.25\n0.25\n", to: "expected.csv")
    let path = try folder.write(Self.lightGBM(), to: "model.txt")
    let error = #expect(throws: TrainingError.self) { try ModelImport(path: path, settings: settings).run() }
    #expect(
      error?.message.hasSuffix(
        #"row 2, column "prediction": expected 0.25 of the library, found 0.5 of the imported model"#) == true)
  }
}

/// The small models of `Tests/import/fixtures`, which their libraries wrote.
enum ImportFixtures {
  static let names = [
    "catboost-lossguide.json", "catboost.json", "lightgbm-forest.txt", "lightgbm-linear.txt", "lightgbm.txt",
    "sklearn-boosting.json",
    "sklearn-forest.json", "xgboost-dart.json", "xgboost.json", "xgboost.ubj",
  ]

  static func path(_ name: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("import/fixtures/\(name)").path
  }

  static func bytes(_ name: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: path(name))))
  }
}
