internal import Foundation
internal import NeedletailCSV
public import NeedletailCore
internal import NeedletailYAML

/// Settings of one run, checked and with every default in place.
public struct RunConfiguration: Sendable {
  public enum Scaling: String, Sendable, CaseIterable {
    case standardise
    case minMax = "min_max"
    case none
  }

  public enum MissingPolicy: String, Sendable, CaseIterable {
    /// Passed on to the model as NaN; for families that understand it.
    case keep
    case refuse
    case mean
    case median
    case mostFrequent = "most_frequent"
    case constant
  }

  /// Settings of one feature column.
  public struct FeaturePolicy: Sendable {
    public var missing: MissingPolicy
    public var unknown: Feature.UnknownPolicy
    /// Text to fill in where `missing` is `constant`.
    public var constant: String?
    public var summary: String
  }

  public enum Precision: String, Sendable, CaseIterable {
    case automatic = "auto"
    case int8
    case fp32
  }

  public struct Quantisation: Sendable {
    public var precision: Precision
    /// Accuracy or R², times 100, that int8 may cost.
    public var lossPointsMax: Double
    /// Training rows that int8 is measured on.
    public var calibrationRows: Int
  }

  public let request: TableRequest
  /// Families that could have been chosen.
  public let families: [any ModelFamily]
  public private(set) var family: any ModelFamily
  public let model: ModelID
  public let scaling: Scaling
  public let quantisation: Quantisation
  /// Shares of the rows; they add up to 1.
  public let splitFractions: (train: Double, validation: Double, test: Double)
  public let splitSeed: UInt64
  public let isStratified: Bool
  public let seed: UInt64
  public let expiresDays: Int?
  /// All settings, defaults merged in.
  public private(set) var document: Document
  private let locations: [String: String]
  private let file: String
  private let directory: String

  /// Reads a run file, lays the `--set`s over it, and fills in the family's and the product's defaults.
  ///
  /// - Parameters:
  ///   - path: the run file.
  ///   - sets: assignments `a.b=c`, the last one wins.
  /// - Throws: `TrainingError` that says the first thing that is wrong, with its line.
  public static func load(path: String, sets: [String] = []) throws(TrainingError) -> RunConfiguration {
    try RunFileText(path: path, sets: sets).configuration()
  }

  static func readText(path: String) throws(TrainingError) -> String {
    do {
      return try String(contentsOfFile: path, encoding: .utf8)
    } catch {
      throw TrainingError(.configuration, "\(path): expected a readable run file in UTF-8, found none")
    }
  }

  static func directory(of path: String) -> String { URL(fileURLWithPath: path).deletingLastPathComponent().path }

  /// - Parameters:
  ///   - yaml: text of the run file.
  ///   - file: its name, for messages, and for the model if `publish.model` is absent.
  ///   - directory: directory that relative data paths start from.
  ///   - sets: assignments `a.b=c`, the last one wins.
  ///   - families: those that `model.family` may name.
  /// - Throws: `TrainingError` that says the first thing that is wrong, with its line.
  public init(
    yaml: String, file: String, directory: String, sets: [String] = [],
    families: [any ModelFamily] = FamilyRegistry.all
  ) throws(TrainingError) {
    self.families = families
    do throws(YAMLError) {
      var node = try YAMLNode.parse(yaml, file: file)
      for assignment in sets { try node.set(assignment) }
      family = try Self.family(node, among: families)
      var check = SettingsCheck()
      document = try check.merge(
        node, under: RunSettings.all(family: family, among: families), path: "", place: YAMLPlace(file, line: 1))
      locations = check.places.mapValues(\.description)
    } catch {
      throw TrainingError(.configuration, error.description)
    }
    self.file = file
    self.directory = directory
    let place = { @Sendable [locations] (setting: String) in Self.location(of: setting, in: locations, file: file) }

    request = Self.request(document, directory: directory, location: place)
    scaling = Scaling(rawValue: document["preprocessing"]["scale"].text ?? "") ?? .standardise
    let quantisation = document["quantisation"]
    self.quantisation = Quantisation(
      precision: Precision(rawValue: quantisation["precision"].text ?? "") ?? .automatic,
      lossPointsMax: quantisation["max_loss_points"].number ?? 0.5,
      calibrationRows: quantisation["calibration_rows"].integer ?? 512)
    let split = document["split"]
    splitFractions = (split["train"].number ?? 0, split["validation"].number ?? 0, split["test"].number ?? 0)
    let sum = splitFractions.train + splitFractions.validation + splitFractions.test
    guard abs(sum - 1) < 1e-6 else {
      throw .configuration(place("split"), "split: expected fractions that add up to 1, found \(Figures.short(sum))")
    }
    splitSeed = UInt64(split["seed"].integer ?? 1)
    isStratified = split["stratified"].flag ?? true
    seed = UInt64(document["training"]["seed"].integer ?? 1)
    expiresDays = document["publish"]["expires_days"].integer
    let stem = URL(fileURLWithPath: file).deletingPathExtension().lastPathComponent
    do {
      model = try ModelID(document["publish"]["model"].text ?? stem)
    } catch {
      throw .configuration(place("publish.model"), "publish.model: \(error.message)")
    }
    guard request.rules.missing.count <= Limits.missingWordsMax else {
      throw .configuration(
        place("data.missing"),
        "data.missing: expected at most \(Limits.missingWordsMax) words, found \(request.rules.missing.count)")
    }
    try checkConstants()
  }

  /// Path of a file that the run file names: relative ones start from its directory.
  public func path(of name: String) -> String { name.hasPrefix("/") ? name : directory + "/" + name }

  /// True where the run file or a `--set` holds the setting.
  func isSet(_ setting: String) -> Bool { locations[setting] != nil }

  /// The same run of another family, with other settings to be told to people.
  func replacing(family: any ModelFamily, document: Document) -> RunConfiguration {
    var configuration = self
    configuration.family = family
    configuration.document = document
    return configuration
  }

  /// All settings, in a form that another directory understands: files have their whole paths.
  var portableDocument: Document {
    let files = Document.list(
      request.files.map { .text(URL(fileURLWithPath: $0.path).standardizedFileURL.path) })
    return .section(
      document.entries.map { section in
        guard section.key == "data" else { return section }
        return .init(
          "data", .section(section.value.entries.map { $0.key == "files" ? .init("files", files) : $0 }))
      })
  }

  /// Place where the user set this, or of the nearest section around it: `run.yaml:12`.
  public func location(of setting: String) -> String { Self.location(of: setting, in: locations, file: file) }

  private static func location(of setting: String, in locations: [String: String], file: String) -> String {
    var path = setting
    while true {
      if let location = locations[path] { return location }
      guard let dot = path.lastIndex(of: ".") else { return file }
      path = String(path[..<dot])
    }
  }

  /// Settings of a column: its own, else those for all.
  public func policy(for column: String) -> FeaturePolicy {
    let features = document["features"]
    let own = features["columns"][column]
    return FeaturePolicy(
      missing: MissingPolicy(rawValue: own["missing"].text ?? features["missing"].text ?? "") ?? .refuse,
      unknown: Self.unknownPolicy(own["unknown"].text ?? features["unknown"].text),
      constant: own["constant"].text, summary: own["summary"].text ?? "")
  }

  private static func unknownPolicy(_ text: String?) -> Feature.UnknownPolicy {
    switch text {
    case "zeros": .zeros
    case "other": .other
    default: .refuse
    }
  }

  private func checkConstants() throws(TrainingError) {
    for column in document["features"]["columns"].entries {
      let path = "features.columns.\(column.key)"
      let policy = policy(for: column.key)
      if policy.missing == .constant, policy.constant == nil {
        throw .configuration(
          location(of: "\(path).missing"), "\(path).constant: expected what to fill in, found nothing")
      }
    }
    if document["features"]["missing"].text == "constant" {
      throw .configuration(
        location(of: "features.missing"),
        "features.missing: expected a policy that fits all columns, found \"constant\"; "
          + "set it per column under features.columns")
    }
  }

  private static func family(
    _ node: YAMLNode, among families: [any ModelFamily]
  ) throws(YAMLError) -> any ModelFamily {
    let expected = families.names.joined(separator: " | ")
    guard let value = node.value(at: ["model", "family"]), case .scalar(let name, _) = value.content, !value.isNull
    else {
      throw YAMLError(
        node.value(at: ["model"])?.place ?? node.place, path: "model.family", expected: expected, found: "nothing")
    }
    guard let family = families.named(name) else {
      throw value.wrong(expected: expected, hint: Suggestion.clause(for: name, among: families.names))
    }
    return family
  }

  /// Missing words in their normal form; an empty one says what holds anyway.
  private static func rules(_ missing: Document) -> ValueRules {
    var words: [String] = []
    for word in missing.elements.compactMap(\.text).map({ ValueText.normalised($0) })
    where !word.isEmpty && !words.contains(word) {
      words.append(word)
    }
    return ValueRules(missing: words)
  }

  private static func request(
    _ document: Document, directory: String, location: @escaping @Sendable (String) -> String
  ) -> TableRequest {
    let data = document["data"]
    let types = document["features"]["columns"].entries.map { entry in
      (entry.key, TableRequest.ColumnType(rawValue: entry.value["type"].text ?? "") ?? .automatic)
    }
    return TableRequest(
      files: data["files"].elements.compactMap(\.text).map { name in
        (name, name.hasPrefix("/") ? name : directory + "/" + name)
      },
      target: document["target"]["column"].text ?? "",
      delimiter: CSVDelimiter(rawValue: data["delimiter"].text ?? "") ?? .comma,
      columns: data["columns"] == .null ? nil : data["columns"].elements.compactMap(\.text),
      drop: data["drop"].elements.compactMap(\.text), types: types,
      targetUse: TableRequest.TargetUse(rawValue: document["target"]["task"].text ?? "") ?? .automatic,
      weight: document["target"]["weight"].text, group: document["target"]["group"].text,
      rules: rules(data["missing"]),
      dropsDuplicates: data["duplicates"].text == "drop", location: location)
  }
}

/// Every key that a run file may have.
enum RunSettings {
  /// - Parameters:
  ///   - family: declares the keys of `model` and `training`, and narrows those of `features` and `preprocessing`.
  ///   - families: all that may be chosen.
  static func all(family: any ModelFamily, among families: [any ModelFamily]) -> [Setting] {
    let familySetting = Setting(
      "family", .choice(families.names), isRequired: true,
      families.map { "\($0.name): \($0.summary)" }.joined(separator: " "))
    return [
      Setting("data", .section(data), "Where the rows come from; paths are relative to this file."),
      Setting(
        "features", .section(features(family.preprocessing)), "What the model gets to see, and what it does with gaps."),
      Setting("target", .section(target), "What it predicts."),
      Setting("split", .section(split), "Rows for training, for steering it, and for the final judgement."),
      Setting(
        "preprocessing", .section(preprocessing(family.preprocessing)),
        "Becomes part of the model: the server runs the same."),
      Setting("model", .section([familySetting] + family.modelSettings), "The model family and its shape."),
      Setting("training", .section([seed] + family.trainingSettings), "How it learns."),
      Setting("tuning", .section(tuning(families)), "What needletail-trainer tune searches; train takes no notice."),
      Setting("evaluation", .section(evaluation), "What the report says beside its usual figures."),
      Setting("tracking", .section(tracking), "Where the run is remembered."),
      Setting("quantisation", .section(quantisation), "Smaller and faster weights, if the metric allows."),
      Setting("publish", .section(publish), "The name it is served under."),
    ]
  }

  static let seed = Setting(
    "seed", .integer(0...Int(Int32.max)), .integer(1), "The same seed gives the same model.")

  static let data: [Setting] = [
    Setting("files", .list(.text), isRequired: true, "CSV files with a header; several are read one after the other."),
    Setting("columns", .list(.text), "Feature columns; left out: all but the target and the dropped."),
    Setting("drop", .list(.text), .list([]), "Columns to leave out, such as identifiers."),
    Setting(
      "missing", .list(.text), .list(ValueRules.missingDefault.map { .text($0) }),
      "What stands for a missing value beside an empty cell; the model keeps it."),
    Setting(
      "duplicates", .choice(["keep", "drop"]), .text("keep"),
      "Rows that repeat an earlier one in every column of the files."),
    Setting("delimiter", .choice(CSVDelimiter.allCases.map(\.rawValue)), .text("comma"), "Between fields."),
  ]

  static let unknownPolicy = Setting.Kind.choice(["refuse", "zeros", "other"])

  static func features(_ request: PreprocessingRequest) -> [Setting] {
    let keep = request.missing == .kept ? ["keep"] : []
    let missingPolicy = Setting.Kind.choice(keep + ["refuse", "mean", "median", "most_frequent", "constant"])
    let known = keep.isEmpty ? "refuse it" : "keep it, which the model understands, refuse it"
    return [
      Setting(
        "missing", missingPolicy, .text(request.missing == .kept ? "keep" : "refuse"),
        "A missing value: \(known), or fill it in (mean and median mean most_frequent for categories)."),
      Setting(
        "unknown", unknownPolicy, .text("refuse"),
        "A category never seen in training: refuse it, encode it as zeros, or as one more category."),
      Setting(
        "columns",
        .sectionPerColumn([
          Setting(
            "type", .choice(TableRequest.ColumnType.allCases.map(\.rawValue)), .text("auto"),
            "What the column holds."),
          Setting("missing", missingPolicy, "As above, for this column."),
          Setting("unknown", unknownPolicy, "As above, for this column."),
          Setting("constant", .text, "What to fill in with missing: constant."),
          Setting("summary", .text, "One sentence for people who call the model."),
        ]), "Columns that differ."),
    ]
  }

  static let target: [Setting] = [
    Setting("column", .text, isRequired: true, "The column to predict."),
    Setting(
      "task", .choice(TableRequest.TargetUse.allCases.map(\.rawValue)), .text("auto"),
      "Classification for text and for at most 20 different whole numbers, else regression."),
    Setting("weight", .text, "Column of the rows' weights in the loss; no feature. For families that take weights."),
    Setting(
      "group", .text,
      "Column that says which rows belong together: all of a group are in the same part; no feature."),
  ]

  static let split: [Setting] = [
    Setting("train", .number(0.01...1), .number(0.7), "Fractions; they add up to 1."),
    Setting("validation", .number(0...0.9), .number(0.15), "Decides when to stop and whether int8 is good enough."),
    Setting("test", .number(0.01...0.9), .number(0.15), "Never seen before the final figures."),
    Setting("seed", .integer(0...Int(Int32.max)), .integer(1), "Which rows go where."),
    Setting("stratified", .flag, .flag(true), "Every class in the same proportion in every part."),
  ]

  static func preprocessing(_ request: PreprocessingRequest) -> [Setting] {
    switch request.numbers {
    case .scaled:
      [
        Setting(
          "scale", .choice(["standardise", "min_max", "none"]), .text("standardise"),
          "Mean 0 and deviation 1, or the range 0 to 1; fitted on the training rows only.")
      ]
    case .unscaled: [Setting("scale", .choice(["none"]), .text("none"), "This family takes numbers as they are.")]
    }
  }

  static let quantisation: [Setting] = [
    Setting(
      "precision", .choice(["auto", "int8", "fp32"]), .text("auto"),
      "With auto, int8 where there is something to gain and the metric allows it."),
    Setting(
      "max_loss_points", .number(0...100), .number(0.5),
      "Accuracy, or R² times 100, that int8 may cost on validation or test rows."),
    Setting("calibration_rows", .integer(1...1_000_000), .integer(512), "Training rows that int8 is measured on."),
  ]

  static let publish: [Setting] = [
    Setting("model", .text, "The model's name in a store; left out: the name of this file."),
    Setting(
      "expires_days", .integer(1...36_500), "A server refuses the version after so many days; left out: never."),
  ]
}
