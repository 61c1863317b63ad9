internal import Foundation
public import NeedletailCore

/// `proto/golden/values.json`: cells and what they are, which the tests of all languages read.
public struct ValueCells: Decodable, Sendable {
  public struct Cell: Decodable, Sendable {
    public var name: String
    /// A field of a CSV file, quotes included; nil where CSV cannot say it.
    public var csv: String?
    public var json: String?
    /// An element of a `STRING` tensor.
    public var wire: String?
    public var numeric: Number
    public var category: Category

  }

  public enum Number: Decodable, Equatable, Sendable {
    case number(Double), missing, refused

    public init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let number = try? container.decode(Double.self) {
        self = .number(number)
      } else {
        self = try container.decode(String.self) == "missing" ? .missing : .refused
      }
    }
  }

  public enum Category: Decodable, Equatable, Sendable {
    case category(String), missing, unknown

    public init(from decoder: any Decoder) throws {
      switch try decoder.singleValueContainer().decode(String.self) {
      case "missing": self = .missing
      case "unknown": self = .unknown
      case let name: self = .category(name)
      }
    }
  }

  public var missing: [String]
  public var categories: [String]
  public var cells: [Cell]

  public var rules: ValueRules { ValueRules(missing: missing) }

  /// The file, which comes with the sources.
  public static let golden: ValueCells = {
    let path = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../proto/golden/values.json")
    do {
      return try JSONDecoder().decode(ValueCells.self, from: Data(contentsOf: path.standardizedFileURL))
    } catch {
      fatalError("proto/golden/values.json: \(error)")
    }
  }()

  /// Features `size`, numeric, and `colour`, with the file's categories and −1 for others; both may be missing.
  public var schema: FeatureSchema {
    FeatureSchema(
      features: [
        Feature(name: "size", kind: .numeric, missing: .impute),
        Feature(name: "colour", kind: .categorical(categories: categories, unknown: .zeros), missing: .impute),
      ], target: "y", rules: rules)
  }
}
