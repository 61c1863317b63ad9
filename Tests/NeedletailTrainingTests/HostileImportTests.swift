import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Model files that were cut, changed or made up end in an error that names field, expected and found, and never in a
/// trap.
@Suite struct HostileImportTests {
  private func message(_ text: String) throws -> String { try message(Array(text.utf8)) }

  /// The message of a refusal while a file is read, or its graph is made; empty: the file is accepted.
  private func message(_ bytes: [UInt8]) throws -> String {
    let settings = ImportSettings(model: try ModelID("m"))
    do {
      _ = try ModelImport.parse(bytes, settings).definition(labels: [], target: "y")
      return ""
    } catch {
      return error.message
    }
  }

  private func xgboost(_ old: String, _ new: String) throws -> String {
    let text = ImportTests.xgboost()
    #expect(text.contains(old))
    return try message(text.replacingOccurrences(of: old, with: new))
  }

  private func lightGBM(_ old: String, _ new: String) throws -> String {
    let text = ImportTests.lightGBM()
    #expect(text.contains(old))
    return try message(text.replacingOccurrences(of: old, with: new))
  }

  private func catBoost(_ old: String, _ new: String) throws -> String {
    let text = String(decoding: try ImportFixtures.bytes("catboost.json"), as: UTF8.self)
    let range = try #require(text.range(of: old))
    return try message(text.replacingCharacters(in: range, with: new))
  }

  // MARK: - documents

  @Test func nestingBeyondTheLimitIsRefusedBeforeTheStackEnds() throws {
    let lists = "{\"learner\":" + String(repeating: "[", count: 1_000_000)
    #expect(try message(lists).hasSuffix("expected at most 64 levels of lists and objects, found more"))
    let objects = String(repeating: "{\"a\":", count: 1_000_000)
    #expect(try message(objects).hasSuffix("expected at most 64 levels of lists and objects, found more"))
    // In UBJ `i 1 a` is a key of one byte.
    let ubj = [UInt8](repeating: UInt8(ascii: "["), count: 1_000_000)
    #expect(
      try message(Array("{i\u{1}a".utf8) + ubj).hasSuffix(
        "expected at most 64 levels of lists and objects, found more"))
  }

  @Test func countsThatTheBytesCannotHoldAreRefusedWithoutMemoryForThem() throws {
    let count: [UInt8] = Array("L".utf8) + [0x7f] + [UInt8](repeating: 0xff, count: 7)
    let numbers = Array("{i\u{1}a[$d#".utf8) + count
    #expect(try message(numbers).contains("a length from 0, found 9.2233720368547"))
    let billion: [UInt8] = Array("l".utf8) + [0x3b, 0x9a, 0xca, 0x00]
    #expect(
      try message(Array("{i\u{1}a[$d#".utf8) + billion).hasSuffix(
        "expected 1000000000 numbers of 4 bytes, found 0 bytes"))
    #expect(try message(Array("{i\u{1}a[#".utf8) + billion).hasSuffix("expected 1000000000 elements, found 0 bytes"))
    #expect(try message(Array("{#".utf8) + billion).hasSuffix("expected 1000000000 elements, found 0 bytes"))
    #expect(
      try message(Array("{i\u{1}aS".utf8) + billion).hasSuffix("expected text of 1000000000 bytes, found 0 bytes"))
    let negative: [UInt8] = Array("{i\u{1}aSi".utf8) + [0x80]
    #expect(try message(negative).hasSuffix("expected a length from 0, found -128.0"))
  }

  @Test func typesWithoutBytesCannotMakeListsOfAnyLength() throws {
    // Nulls and truth values take no bytes once the type stands before the list.
    let million: [UInt8] = Array("l".utf8) + [0x00, 0x0f, 0x42, 0x40]
    for type in ["Z", "T", "F"] {
      #expect(
        try message(Array("{i\u{1}a[$\(type)#".utf8) + million).hasSuffix("expected 1000000 elements, found 0 bytes"))
    }
  }

  @Test func everyPrefixOfADocumentIsRefused() throws {
    for name in ImportFixtures.names where !name.hasPrefix("lightgbm") {
      let bytes = try ImportFixtures.bytes(name)
      for count in stride(from: 0, to: bytes.count - 1, by: max(1, bytes.count / 200)) {
        #expect(try !message(Array(bytes[..<count])).isEmpty, "\(name), \(count) bytes")
      }
    }
  }

  @Test func lightGBMsTextIsRefusedWhereverItIsCut() throws {
    for name in ["lightgbm.txt", "lightgbm-forest.txt"] {
      let lines = String(decoding: try ImportFixtures.bytes(name), as: UTF8.self)
        .split(separator: "\n", omittingEmptySubsequences: false)
      let end = try #require(lines.firstIndex(of: "end of trees"))
      for count in 0...end {
        #expect(try !message(lines[..<count].joined(separator: "\n")).isEmpty, "\(name), \(count) lines")
      }
      // Any line may be missing: a default takes its place, or the tree that misses it is named.
      for missing in 0..<end {
        var rest = lines
        let line = rest.remove(at: missing)
        let found = try message(rest.joined(separator: "\n"))
        if line.hasPrefix("leaf_value=") || line.hasPrefix("threshold=") {
          #expect(found.hasPrefix("tree "), "\(line)")
        }
      }
    }
  }

  /// Numbers that arithmetic, casts and indices may stumble over.
  private static let awkward = [
    "-1", "9223372036854775808", "-9223372036854775809", "1e300", "-1e300", "1e39", "0.5", "NaN", "Infinity",
    "2147483648", "4294967296", "16777217", "null", "\"x\"", "true", "[]", "{}", "[[1]]",
  ]

  @Test func anyValueMayBeAnyOtherWithoutATrap() throws {
    // Each leaf of the document in turn, by the place of its first byte.
    for name in ["xgboost.json", "xgboost-dart.json", "sklearn-forest.json", "sklearn-boosting.json"] {
      let text = Array(try ImportFixtures.bytes(name))
      let starts = text.indices.filter { index in
        let byte = text[index]
        let isDigit = byte == UInt8(ascii: "-") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        return isDigit && index > 0 && ":[, ".utf8.contains(text[index - 1])
      }
      for (number, start) in starts.enumerated() where number % 5 == 0 {
        let end = text[start...].firstIndex { ",]}".utf8.contains($0) } ?? text.endIndex
        let value = Self.awkward[number / 5 % Self.awkward.count]
        _ = try message(Array(text[..<start]) + Array(value.utf8) + Array(text[end...]))
      }
    }
  }

  @Test func anyLineOfLightGBMMayHoldAnyNumberWithoutATrap() throws {
    let text = String(decoding: try ImportFixtures.bytes("lightgbm.txt"), as: UTF8.self)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() {
      guard let equals = line.firstIndex(of: "=") else { continue }
      let words = line[line.index(after: equals)...].split(separator: " ")
      for value in Self.awkward + ["inf", "nan", "", " ", "=", "1 2 3 4 5 6 7 8 9"] {
        for word in words.indices.prefix(1) {
          var changed = words
          changed[word] = value[...]
          var all = lines
          all[index] = line[...equals] + changed.joined(separator: " ")
          _ = try message(all.joined(separator: "\n"))
        }
      }
    }
  }

  // MARK: - trees

  @Test func cyclesAndSharedChildrenAreNamedByTreeAndNode() throws {
    #expect(
      try xgboost(#""left_children": [1,"#, #""left_children": [0,"#)
        == "tree 0, node 0: expected one way from the root, found two or a cycle")
    #expect(
      try xgboost(#""left_children": [1,"#, #""left_children": [2,"#)
        == "tree 0, node 2: expected one way from the root, found two or a cycle")
    #expect(
      try xgboost(#""left_children": [1,"#, #""left_children": [3,"#)
        == "tree 0, node 0: child: expected 0 to 2, found 3")
    #expect(
      try xgboost(#""right_children": [2,"#, #""right_children": [-1,"#)
        == "tree 0, node 0: child: expected 0 to 2, found -1")
    #expect(
      try lightGBM("left_child=-1", "left_child=0")
        == "tree 0, node 0: expected one way from the root, found two or a cycle")
    #expect(
      try lightGBM("right_child=-2", "right_child=-1")
        == "tree 0, node 1: expected one way from the root, found two or a cycle")
    #expect(
      try lightGBM("right_child=-2", "right_child=-3")
        == "tree 0: right_child: expected whole numbers from -2 to 0, found -3.0")
  }

  @Test func thresholdsAndLeavesThatAreNoNumbersAreNamed() throws {
    #expect(
      try xgboost("[1.5, -0.25, 0.5]", "[NaN, -0.25, 0.5]")
        == "tree 0, node 0: threshold: expected a number, found nan")
    #expect(
      try xgboost("[1.5, -0.25, 0.5]", "[1.5, Infinity, 0.5]")
        == "tree 0, node 1: leaf: expected a finite number, found inf")
    #expect(try lightGBM("threshold=1.5", "threshold=nan") == "tree 0, node 0: threshold: expected a number, found nan")
    #expect(try lightGBM("threshold=1.5", "threshold=inf").isEmpty)
    #expect(
      try lightGBM("leaf_value=-0.25 0.5", "leaf_value=-0.25 inf")
        == "tree 0, node 2: leaf: expected a finite number, found inf")
  }

  @Test func featuresOutOfRangeAreNamed() throws {
    #expect(
      try xgboost(#""split_indices": [0,"#, #""split_indices": [2,"#)
        == "tree 0, node 0: column: expected 0 to 1, found 2")
    #expect(
      try xgboost(#""split_indices": [0,"#, #""split_indices": [-1,"#)
        == "learner.gradient_booster.model.trees[0].split_indices[0]: expected a whole number from 0 to 2147483647, found -1.0"
    )
    #expect(
      try lightGBM("split_feature=0", "split_feature=2") == "tree 0, node 0: column: expected 0 to 1, found 2")
    #expect(
      try catBoost(#""float_feature_index""#, #""other_feature_index""#).hasSuffix(
        #"expected an object with "float_feature_index", found none of that name"#))
  }

  @Test func missingKeysAndWrongTypesAreNamedByTheirPath() throws {
    #expect(
      try xgboost(#""base_score""#, #""basic_score""#)
        == #"learner.learner_model_param: expected an object with "base_score", found none of that name"#)
    #expect(
      try xgboost(#""left_children": [1, -1, -1]"#, #""left_children": "1""#)
        == "learner.gradient_booster.model.trees[0].left_children: expected a list of numbers, found text")
    #expect(
      try xgboost(#""split_conditions": [1.5, -0.25, 0.5]"#, #""split_conditions": [1.5, -0.25]"#)
        == "learner.gradient_booster.model.trees[0].split_conditions: expected 3 numbers, found 2")
    #expect(
      try xgboost(#""num_trees": "1""#, #""num_trees": "1000000000""#)
        == "learner.gradient_booster.model.gbtree_model_param.num_trees: expected a whole number from 0 to 65536, found 1000000000.0"
    )
    #expect(
      try xgboost(#""num_feature": "2""#, #""num_feature": "9223372036854775808""#)
        == "learner.learner_model_param.num_feature: expected a whole number from 1 to 65536, found 9.223372036854776e+18"
    )
    #expect(
      try xgboost(#""gbtree""#, #""gblinear""#)
        == #"learner.gradient_booster.name: expected gbtree or dart, a booster of trees, found "gblinear""#)
    #expect(
      try lightGBM("max_feature_idx=1", "max_feature_idx=-1")
        == #"header: max_feature_idx: expected a whole number from 0 to 65535, found "-1""#)
    #expect(
      try lightGBM("leaf_value=-0.25 0.5", "leaf_value=-0.25") == "tree 0: leaf_value: expected 2 numbers, found 1")
    #expect(try lightGBM("threshold=1.5\n", "") == "tree 0: expected threshold=…, found none")
    #expect(try lightGBM("threshold=1.5", "threshold=1,5") == #"tree 0: threshold: expected a number, found "1,5""#)
    #expect(
      try lightGBM("threshold=1.5\ndecision_type=8", "threshold=7\ndecision_type=1")
        == "tree 0, split 0: expected a set of categories, found number 7.0")
    #expect(
      try lightGBM("decision_type=8", "decision_type=12")
        == "tree 0, split 0: decision_type: expected a known treatment of missing values, found 12")
  }

  @Test func linksForAnotherNumberOfSumsAreRefused() throws {
    // A tree for each of as many sums.
    func found(_ objective: String, _ parameters: String, sums: Int = 2) throws -> String {
      let trees = Array(repeating: ImportTests.xgboostTree, count: sums).joined(separator: ", ")
      let text = ImportTests.xgboost(
        objective: objective, tree: trees, parameters: #""num_feature": "2", "# + parameters)
      return try message(
        text.replacingOccurrences(of: #""num_trees": "1""#, with: #""num_trees": "\#(sums)""#)
          .replacingOccurrences(of: #""tree_info": [0]"#, with: #""tree_info": \#(Array(0..<sums))"#))
    }
    #expect(
      try found("multi:softprob", #""num_class": "1""#, sums: 1)
        == "expected two sums or more for multi:softprob, found 1")
    #expect(try found("binary:hinge", #""num_target": "2""#) == "expected one sum for binary:hinge, found 2")
    let three = try found("binary:logistic", #""num_class": "3""#, sums: 3)
    #expect(three == "expected one sum for binary:logistic, found 3")
    // Several labels of a row.
    #expect(try found("binary:logistic", #""num_target": "2""#).isEmpty)
  }

  @Test func categoriesBeyondTheLimitAreRefusedWithoutMemoryForThem() throws {
    let tree = ImportTests.xgboostTree
      .replacingOccurrences(of: #""split_type": [0, 0, 0]"#, with: #""split_type": [1, 0, 0]"#)
    func categories(_ list: String, sizes: String = "1") throws -> String {
      try message(
        ImportTests.xgboost(
          tree: tree.replacingOccurrences(
            of: #""tree_param""#,
            with: """
              "categories": [\(list)], "categories_nodes": [0], "categories_segments": [0], "categories_sizes": [\(sizes)],
              "tree_param"
              """)))
    }
    #expect(try categories("1").isEmpty)
    #expect(try categories("4294967296").contains("categories[0]: expected a whole number from 0 to 1048575"))
    #expect(
      try categories("1", sizes: "2").contains("categories_sizes[0]: expected a whole number from 0 to 1, found 2"))
    #expect(
      try message(ImportTests.xgboost(tree: tree)).contains(#"expected an object with "categories", found none"#))
  }

  @Test func splitsThatShareASetOfCategoriesAreRefusedBeforeTheyCopyIt() throws {
    let text = ImportTests.lightGBM()
      .replacingOccurrences(
        of: "num_leaves=2\nnum_cat=0", with: "num_leaves=3\nnum_cat=1\ncat_boundaries=0 1\ncat_threshold=2"
      )
      .replacingOccurrences(
        of: "split_feature=0\nthreshold=1.5\ndecision_type=8",
        with: "split_feature=0 1\nthreshold=0 0\ndecision_type=1 1"
      )
      .replacingOccurrences(of: "left_child=-1\nright_child=-2", with: "left_child=1 -1\nright_child=-2 -3")
      .replacingOccurrences(of: "leaf_value=-0.25 0.5", with: "leaf_value=1 2 3")
    #expect(try message(text) == "tree 0, split 1: expected a set of its own, found number 0 of another split")
    let own =
      text
      .replacingOccurrences(
        of: "num_cat=1\ncat_boundaries=0 1\ncat_threshold=2", with: "num_cat=2\ncat_boundaries=0 1 2\ncat_threshold=2 4"
      )
      .replacingOccurrences(of: "threshold=0 0\n", with: "threshold=0 1\n")
    #expect(try message(own).isEmpty)
    let tree = ImportTests.xgboostTree
      .replacingOccurrences(of: #""split_type": [0, 0, 0]"#, with: #""split_type": [1, 0, 0]"#)
      .replacingOccurrences(
        of: #""tree_param""#,
        with: """
          "categories": [1, 2], "categories_nodes": [0, 1], "categories_segments": [0, 0], "categories_sizes": [2, 2],
          "tree_param"
          """)
    #expect(
      try message(ImportTests.xgboost(tree: tree)).contains(
        "categories: expected 4 categories, as categories_sizes says, found 2"))
  }

  @Test func iterationsThatDoNotAscendAreRefused() throws {
    for ends in ["[0, 2]", "[1, 1]", "[0, 1, 0, 1]", "[0, 0]", "[0, 1, 0]"] {
      #expect(
        try xgboost(#""tree_info": [0],"#, #""tree_info": [0], "iteration_indptr": \#(ends),"#)
          .contains("iteration_indptr"), "\(ends)")
    }
    #expect(try xgboost(#""tree_info": [0],"#, #""tree_info": [0], "iteration_indptr": [0, 1],"#).isEmpty)
  }

  @Test func linearLeavesThatDoNotFitAreNamedByTheirTree() throws {
    let good = "is_linear=1\nleaf_const=1 2\nnum_features=1 0\nleaf_features=0\nleaf_coeff=0.5"
    #expect(try lightGBM("is_linear=0", good).isEmpty)
    for (old, new, words) in [
      ("leaf_const=1 2", "leaf_const=1", "tree 0: leaf_const: expected 2 numbers, found 1"),
      ("leaf_const=1 2", "leaf_const=1 nan", "tree 0: leaf_const: expected finite numbers, found nan"),
      ("leaf_const=1 2\n", "", "tree 0: expected leaf_const=…, found none"),
      ("num_features=1 0", "num_features=1 1", "tree 0: leaf_features: expected 2 numbers, found 1"),
      (
        "num_features=1 0", "num_features=3 0",
        "tree 0: num_features: expected whole numbers from 0 to 2, found 3.0"
      ),
      ("leaf_features=0", "leaf_features=2", "tree 0: leaf_features: expected whole numbers from 0 to 1, found 2.0"),
      ("leaf_coeff=0.5", "leaf_coeff=inf", "tree 0: leaf_coeff: expected finite numbers, found inf"),
      ("leaf_coeff=0.5", "leaf_coeff=", "tree 0: leaf_coeff: expected 1 numbers, found 0"),
      ("is_linear=1", "is_linear=2", #"tree 0: is_linear: expected a whole number from 0 to 1, found "2""#),
    ] {
      #expect(try lightGBM("is_linear=0", good.replacingOccurrences(of: old, with: new)) == words)
    }
  }

  @Test(.timeLimit(.minutes(10)))
  func equalSetsOfCategoriesAreLookedUpByTheirCodes() throws {
    // Words of each set take 128 KiB; hashed for each of 300,000 splits, they took minutes.
    let trees = (0..<30_000).map { tree in
      var nodes: [TreeModel.Node] = []
      for split in 0..<10 {
        let codes = split % 2 == 0 ? [tree % 2, Limits.categoriesMax - 1] : [Limits.categoriesMax - 1, tree % 2]
        nodes += [
          .split(.init(column: 0, test: .categories(codes), left: 2 * split + 1, right: 2 * split + 2)), .leaf([0]),
        ]
      }
      return TreeModel.Tree(nodes: nodes + [.leaf([1])])
    }
    let model = TreeModel(comparison: .below, sums: .float32, outputs: 1, trees: trees)
    #expect(try model.ensemble().setWords.count == 2)
  }

  @Test func setsOfCategoriesTakeBoundedMemoryInAll() {
    // Each of these sets takes 32,768 words in the model, and two numbers in the file.
    let trees = (0..<200).map { code in
      TreeModel.Tree(
        nodes: [
          .split(.init(column: 0, test: .categories([code, Limits.categoriesMax - 1]), left: 1, right: 2)),
          .leaf([0]), .leaf([1]),
        ])
    }
    let model = TreeModel(comparison: .below, sums: .float32, outputs: 1, trees: trees)
    let error = #expect(throws: TreeModelError.self) { try model.ensemble() }
    #expect(
      error?.message == "categories: expected at most \(Limits.treeNodesMax) words of 32 in all splits, found more")
  }

  @Test func aModelWithThresholdsBeyondFP32IsRecordedWithRowsThatCanBeBound() throws {
    let folder = try TemporaryDirectory()
    let text = ImportTests.lightGBM().replacingOccurrences(of: "threshold=1.5", with: "threshold=1e300")
    let path = try folder.write(text, to: "model.txt")
    let bundle = try ModelImport(path: path, settings: ImportSettings(model: try ModelID("m"))).run()
    #expect(!bundle.contents.golden.isEmpty)
  }

  @Test func anErrorNamesTheFile() throws {
    let folder = try TemporaryDirectory()
    let path = try folder.write("PK", to: "model.bin")
    let error = #expect(throws: TrainingError.self) {
      try ModelImport(path: path, settings: ImportSettings(model: try ModelID("m"))).run()
    }
    #expect(error?.message.hasPrefix("\(path): expected a model of XGBoost (JSON or UBJ)") == true)
    let missing = #expect(throws: TrainingError.self) {
      try ModelImport(path: folder.file("none"), settings: ImportSettings(model: try ModelID("m"))).run()
    }
    #expect(missing?.message.contains("expected a readable file, found:") == true)
  }
}
