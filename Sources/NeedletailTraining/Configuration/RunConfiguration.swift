internal import Foundation
internal import NeedletailCSV
public import NeedletailCore
public import NeedletailEngine
internal import NeedletailYAML

/// Settings of one run, checked and with every default in place.
public struct RunConfiguration: Sendable {
  public enum Scaling: String, Sendable, CaseIterable {
    case standardise
    case minMax = "min_max"
    case robust
    case quantileUniform = "quantile_uniform"
    case quantileNormal = "quantile_normal"
    case power
    case log
    case none
  }

  /// What becomes of categories.
  public enum Encoding: String, Sendable, CaseIterable {
    /// By the number of categories, and by what the family takes.
    case automatic = "auto"
    case oneHot = "one_hot"
    case ordinal
    case target
    case frequency
    case hash
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
    /// Parts of a date that the model gets; empty: chosen by the training rows.
    public var parts: [DatePart]
    public var encoding: Encoding
    /// Buckets of hashed categories.
    public var buckets: Int
    /// True adds a column that says where values are missing.
    public var flagsMissing: Bool
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

    request = Self.request(document, directory: directory, infersText: family.needsText, location: place)
    scaling = Scaling(rawValue: document["preprocessing"]["scale"].text ?? "") ?? .standardise
    let quantisation = document["quantisation"]
    self.quantisation = Quantisation(
      precision: Precision(rawValue: quantisation["precision"].text ?? "") ?? .automatic,
      lossPointsMax: quantisation["max_loss_points"].number ?? 0.5,
      calibrationRows: quantisation["calibration_rows"].integer ?? 512)
    let split = document["split"]
    splitFractions = (split["train"].number ?? 0, split["validation"].number ?? 0, split["test"].number ?? 0)
    let sum = splitFractions.train + splitFractions.validation + splitFractions.test
    if request.time != nil, request.part != nil {
      throw .configuration(place("split.column"), "split.column: expected no split.time beside it, found one")
    }
    guard abs(sum - 1) < 1e-6 else {
      throw .configuration(place("split"), "split: expected fractions that add up to 1, found \(Figures.short(sum))")
    }
    splitSeed = UInt64(split["seed"].integer ?? 1)
    isStratified = split["stratified"].flag ?? true
    seed = UInt64(document["training"]["seed"].integer ?? 1)
    expiresDays = document["publish"]["expires_days"].integer
    let stem = URL(fileURLWithPath: file).deletingPathExtension().lastPathComponent
    // A file called run.yaml says nothing of what it trains; its table does.
    let table = stem == "run" ? request.files.first.flatMap { Self.modelName(of: $0.name) } : nil
    do {
      model = try ModelID(document["publish"]["model"].text ?? table ?? stem)
    } catch {
      throw .configuration(place("publish.model"), "publish.model: \(error.message)")
    }
    guard request.rules.missing.count <= Limits.missingWordsMax else {
      throw .configuration(
        place("data.missing"),
        "data.missing: expected at most \(Limits.missingWordsMax) words, found \(request.rules.missing.count)")
    }
    if let fault = request.rules.numbers.fault {
      throw .configuration(place("data.thousands"), "data.thousands: \(fault) for both; set data.decimal as well")
    }
    try checkConstants()
  }

  /// Path of a file that the run file names: relative ones start from its directory.
  public func path(of name: String) -> String { name.hasPrefix("/") ? name : directory + "/" + name }

  /// A table's name as one of a model: `2023 sales.csv.gz` becomes `2023-sales`; nil where nothing is left of it.
  static func modelName(of table: String) -> String? {
    let stem = table.split(separator: "/").last.map(String.init) ?? ""
    let plain = stem.prefix { $0 != "." }.map { character -> Character in
      character.isASCII && (character.isLetter || character.isNumber || "_-".contains(character)) ? character : "-"
    }
    let name = String(plain).drop { "-_".contains($0) }
    return name.isEmpty ? nil : String(name)
  }

  /// Whether the model that is served learns from all rows, once the split has said how good it is.
  var isRefitting: Bool { document["training"]["refit"].flag ?? false }

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
        let entries = section.value.entries
        switch section.key {
        case "data":
          return .init("data", .section(entries.map { $0.key == "files" ? .init("files", files) : $0 }))
        // The file's name may have been the model's.
        case "publish":
          return .init("publish", .section(entries.map { $0.key == "model" ? .init("model", .text(model.name)) : $0 }))
        default: return section
        }
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
      constant: own["constant"].text, summary: own["summary"].text ?? "",
      parts: own["parts"].elements.compactMap { part in DatePart.allCases.first { $0.name == part.text } },
      encoding: Encoding(rawValue: own["encoding"].text ?? features["encoding"].text ?? "") ?? .automatic,
      buckets: own["buckets"].integer ?? buckets,
      flagsMissing: own["missing_flags"].flag ?? features["missing_flags"].flag ?? false)
  }

  /// Buckets of hashed categories and of crosses.
  var buckets: Int { document["features"]["buckets"].integer ?? RunSettings.bucketsDefault }

  /// Columns of each product or cross.
  var interactions: [[String]] {
    document["features"]["interactions"].elements.map { $0.elements.compactMap(\.text) }
  }

  /// Scaling of a feature: its own, else that of all.
  func scaling(of column: String) -> Scaling {
    document["features"]["columns"][column]["scale"].text.flatMap(Scaling.init(rawValue:)) ?? scaling
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
  private static func rules(_ data: Document) -> ValueRules {
    var words: [String] = []
    for word in data["missing"].elements.compactMap(\.text).map({ ValueText.normalised($0) })
    where !word.isEmpty && !words.contains(word) {
      words.append(word)
    }
    return ValueRules(
      missing: words,
      numbers: NumberStyle(
        thousands: NumberStyle.Thousands.allCases.first { $0.name == data["thousands"].text }
          ?? NumberStyle.Thousands.none,
        hasDecimalComma: data["decimal"].text == "comma", allowsUnits: data["units"].text == "ignore"))
  }

  private static func request(
    _ document: Document, directory: String, infersText: Bool, location: @escaping @Sendable (String) -> String
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
      format: DataFormat(
        kind: DataFormat.Kind(rawValue: data["format"].text ?? ""),
        delimiter: CSVDelimiter(rawValue: data["delimiter"].text ?? ""),
        quote: CSVQuote(rawValue: data["quote"].text ?? ""),
        encoding: TextEncoding(rawValue: data["encoding"].text ?? "")),
      columns: data["columns"] == .null ? nil : data["columns"].elements.compactMap(\.text),
      drop: data["drop"].elements.compactMap(\.text), types: types,
      dateOrders: Dictionary(
        document["features"]["columns"].entries.compactMap { entry in
          DateOrder.allCases.first { $0.name == entry.value["order"].text }.map { (entry.key, $0) }
        }, uniquingKeysWith: { first, _ in first }),
      targetUse: TableRequest.TargetUse(rawValue: document["target"]["task"].text ?? "") ?? .automatic,
      weight: document["target"]["weight"].text, group: document["target"]["group"].text,
      time: document["split"]["time"].text, part: document["split"]["column"].text,
      rules: rules(data),
      dropsDuplicates: data["duplicates"].text == "drop", infersText: infersText, location: location)
  }
}
