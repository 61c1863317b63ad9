import Foundation
import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct RunConfigurationTests {
  static let minimal = """
    data:
      files: [a.csv]
    target:
      column: price
    model:
      family: mlp
    """

  private static let families = FamilyRegistry.all.names.joined(separator: " | ")

  private func load(_ yaml: String, sets: [String] = []) throws -> RunConfiguration {
    try RunConfiguration(yaml: yaml, file: "run.yaml", directory: "/data", sets: sets)
  }

  @Test func fillsInDefaultsUnderWhatTheUserSays() throws {
    let run = try load(Self.minimal + "\n  hidden: [8]\ntraining:\n  epochs: 7\n")
    #expect(run.document["model"]["hidden"] == .list([.integer(8)]))
    #expect(run.document["model"]["activation"] == .text("relu"))
    #expect(run.document["training"]["epochs"] == .integer(7))
    #expect(run.document["training"]["optimiser"] == .text("adamw"))
    #expect(run.request.files[0].path == "/data/a.csv" && run.request.files[0].name == "a.csv")
    #expect(run.model.name == "a")
    #expect(run.quantisation.lossPointsMax == 0.5)
    #expect(run.splitFractions == (0.7, 0.15, 0.15))
  }

  @Test(arguments: [
    ("run.yaml", "[\"tables/2023 sales.csv.gz\"]", "2023-sales"), ("run.yaml", "[-]", "run"),
    ("churn.yaml", "[a.csv]", "churn"),
  ]) func aRunFileCalledRunNamesTheModelByItsTable(file: String, files: String, name: String) throws {
    let yaml = Self.minimal.replacingOccurrences(of: "[a.csv]", with: files)
    #expect(try RunConfiguration(yaml: yaml, file: file, directory: "/data").model.name == name)
    let named = try RunConfiguration(yaml: yaml, file: file, directory: "/data", sets: ["publish.model=other"])
    #expect(named.model.name == "other")
  }

  @Test func theMergedConfigurationReadsBackAsItself() throws {
    let run = try load(
      Self.minimal
        + "\nfeatures:\n  columns:\n    \"a: b\": { type: categorical, missing: constant, constant: \"null\" }\n")
    let again = try load(run.document.yaml)
    #expect(again.document == run.document)
    #expect(again.policy(for: "a: b").constant == "null")
  }

  @Test func setOptionsOverrideTheFileAndAreCheckedAlike() throws {
    let run = try load(
      Self.minimal,
      sets: ["training.epochs=3", "model.hidden=[4, 2]", "publish.model=m.1", "features.columns.\"a.b\".type=bool"])
    #expect(run.document["training"]["epochs"] == .integer(3))
    #expect(run.document["model"]["hidden"] == .list([.integer(4), .integer(2)]))
    #expect(run.model.name == "m.1")
    #expect(run.request.types.first?.column == "a.b")
    #expect(run.document["features"]["columns"]["a.b"]["type"] == .text("bool"))
  }

  @Test(arguments: [
    (
      "training.epoch=3",
      "--set training.epoch: training: expected a known key, found \"epoch\", did you mean \"epochs\"?"
    ),
    (
      "training.epochs=many",
      "--set training.epochs: training.epochs: expected a whole number from 1 to 1000000, found \"many\""
    ),
    ("training.epochs", "--set training.epochs: expected key.key=value, found no \"=\""),
    ("training=3", "--set training: training: expected a mapping, found one value"),
    (".a=3", "--set .a: expected keys separated by dots, found \".a\""),
    (
      "model.family=mpl",
      "--set model.family: model.family: expected \(families), found \"mpl\", did you mean \"mlp\"?"
    ),
  ])
  func wrongSetOptionsAreRefused(assignment: String, message: String) {
    let error = #expect(throws: TrainingError.self) { try load(Self.minimal, sets: [assignment]) }
    #expect(error?.message == message)
  }

  @Test(arguments: [
    ("modle:\n  family: mlp\n", "run.yaml:7: expected a known key, found \"modle\", did you mean \"model\"?"),
    (
      "training:\n  epochs: 3\n  learning_rat: 0.1\n",
      "run.yaml:9: training: expected a known key, found \"learning_rat\", did you mean \"learning_rate\"?"
    ),
    ("training:\n  epochs: 0\n", "run.yaml:8: training.epochs: expected a whole number from 1 to 1000000, found \"0\""),
    (
      "training:\n  optimiser: adma\n",
      "run.yaml:8: training.optimiser: expected adam | adamw | sgd, found \"adma\", did you mean \"adam\"?"
    ),
    ("split: { train: 0.5 }\n", "run.yaml:7: split: expected fractions that add up to 1, found 0.8"),
    ("split: 3\n", "run.yaml:7: split: expected a mapping, found one value"),
    (
      "publish: { model: \"a b\" }\n",
      "run.yaml:7: publish.model: model name: expected letters, digits, '.', '_', '-', starting with a letter or digit, found \"a b\""
    ),
    (
      "features:\n  columns:\n    size: { missing: constant }\n",
      "run.yaml:9: features.columns.size.constant: expected what to fill in, found nothing"
    ),
    (
      "features:\n  columns:\n    size: { typ: bool }\n",
      "run.yaml:9: features.columns.size: expected a known key, found \"typ\", did you mean \"type\"?"
    ),
    ("training: [1, 2]\n", "run.yaml:7: training: expected a mapping, found a list of 2"),
    ("target:\n  column: b\n", "run.yaml:3: expected every key once, found \"target\" twice"),
  ])
  func refuses(addition: String, message: String) {
    let error = #expect(throws: TrainingError.self) { try load(Self.minimal + "\n" + addition) }
    #expect(error?.message == message)
  }

  @Test func weightsOfClassesAreAWordOrANumberForEachClass() throws {
    func run(_ value: String) throws -> Document {
      let run = try load(Self.minimal + "\ntraining:\n  class_weights: \(value)\n")
      #expect(try load(run.document.yaml).document == run.document)
      return run.document["training"]["class_weights"]
    }
    #expect(try run("balanced") == .text("balanced"))
    #expect(try run("{ no: 1, \"yes\": 2.5 }") == .section([.init("no", .number(1)), .init("yes", .number(2.5))]))
    let set = try load(Self.minimal, sets: ["training.class_weights.yes=3"])
    #expect(set.document["training"]["class_weights"]["yes"] == .number(3))
    func message(_ value: String) -> String? { #expect(throws: TrainingError.self) { try run(value) }?.message }
    #expect(
      message("balanecd")
        == "run.yaml:8: training.class_weights: expected none | balanced, found \"balanecd\", did you mean \"balanced\"?"
    )
    #expect(
      message("{ no: 0 }")
        == "run.yaml:8: training.class_weights.no: expected a number from 0.001 to 10000, found \"0\"")
  }

  @Test func weightsOfClassesThatAreNoneAreRefused() throws {
    let directory = try TemporaryDirectory()
    try directory.write("a,y\n1,no\n2,yes\n3,no\n4,yes\n", to: "data.csv")
    func message(_ target: String, _ weights: String) -> String? {
      #expect(throws: TrainingError.self) {
        let run = try RunConfiguration(
          yaml: """
            data: { files: data.csv }
            target: { column: \(target) }
            model: { family: mlp }
            training:
              class_weights: \(weights)
            """, file: "run.yaml", directory: directory.path)
        _ = try PreparedData(run)
      }?.message
    }
    #expect(
      message("y", "{ yse: 2 }")
        == "run.yaml:5: training.class_weights: expected a class, found \"yse\", did you mean \"yes\"?")
    #expect(
      message("a, task: regression", "balanced")
        == "run.yaml:5: training.class_weights: expected none for a target of numbers, found some")
  }

  @Test(arguments: [
    ("", "run.yaml:1: model.family: expected \(families), found nothing"),
    (
      "model: { family: mlp }\ntarget: { column: x }\n",
      "run.yaml:1: data.files: expected a list, each text, found nothing"
    ),
    ("data: [\n", "run.yaml:2: expected YAML, found something else: did not find expected node content"),
  ])
  func refusesAnIncompleteFile(yaml: String, message: String) {
    let error = #expect(throws: TrainingError.self) { try load(yaml) }
    #expect(error?.message == message)
  }

  @Test func everyFamilyRunsOnItsDefaults() throws {
    // Nothing stands for the folder of an encoder.
    for family in FamilyRegistry.all where !family.modelSettings.contains(where: \.isRequired) {
      let run = try load("data: { files: a.csv }\ntarget: { column: y }\nmodel: { family: \(family.name) }\n")
      #expect(run.family.name == family.name)
      #expect(run.document["data"]["files"] == .list([.text("a.csv")]))
    }
  }
}

@Suite struct DocumentTests {
  @Test func jsonEscapesAndKeepsOrder() {
    let document = Document.section([
      .init("b", .text("a\"\\\n\u{1}é")), .init("a", .list([.integer(1), .number(0.5), .null])),
      .init("c", .section([])), .init("d", .number(.nan)), .init("e", .list([.section([.init("f", .flag(true))])])),
    ])
    #expect(
      document.json == """
        {
          "b": "a\\"\\\\\\n\\u0001é",
          "a": [1, 0.5, null],
          "c": {},
          "d": null,
          "e": [
            {
              "f": true
            }
          ]
        }

        """)
  }
}
