internal import Foundation
internal import NeedletailClient

extension FeatureTable {
  /// Reads `{"feature": [cell, …], …}` (a column per feature), `{"feature": cell, …}` (one row) or
  /// `[{"feature": cell, …}, …]` (a row per object). `null` is a missing value.
  init(json data: Data, source: String) throws(Failure) {
    let value: JSONValue
    do {
      value = try JSONDecoder().decode(JSONValue.self, from: data)
    } catch {
      throw Failure("\(source): not JSON: \(Self.reason(of: error))")
    }
    switch value {
    case .object(let columns): try self.init(columns: columns, source: source)
    case .array(let rows): try self.init(rows: rows, source: source)
    default:
      throw Failure("\(source): expected an object of columns or a list of row objects, found \(value.kind)")
    }
  }

  private static func reason(of error: any Error) -> String {
    guard case DecodingError.dataCorrupted(let context) = error else { return "\(error)" }
    let detail = (context.underlyingError as NSError?)?.userInfo["NSDebugDescription"] as? String
    return detail ?? context.debugDescription
  }

  private init(columns: [String: JSONValue], source: String) throws(Failure) {
    let names = columns.keys.sorted()
    guard !names.isEmpty else { throw Failure("\(source): expected features, found an empty object") }
    var cells: [[String]] = []
    for name in names {
      let column: [JSONValue] =
        if case .array(let values)? = columns[name] { values } else { columns[name].map { [$0] } ?? [] }
      var texts: [String] = []
      for (row, value) in column.enumerated() {
        texts.append(try value.cell(at: "\(source): row \(row + 1)", feature: name))
      }
      cells.append(texts)
    }
    let count = cells[0].count
    for (name, column) in zip(names, cells) where column.count != count {
      throw Failure(
        "\(source): feature \(name.quotedForMessage): expected \(count) cells like \(names[0].quotedForMessage), "
          + "found \(column.count)")
    }
    guard count > 0 else { throw Failure("\(source): expected rows, found none") }
    let rows = (0..<count).map { row in cells.map { $0[row] } }
    self.init(source: source, columns: names, rows: rows) { "row \($0 + 1)" }
  }

  private init(rows: [JSONValue], source: String) throws(Failure) {
    var names: Set<String> = []
    var objects: [[String: JSONValue]] = []
    for (index, row) in rows.enumerated() {
      guard case .object(let object) = row else {
        throw Failure("\(source): row \(index + 1): expected an object of features, found \(row.kind)")
      }
      names.formUnion(object.keys)
      objects.append(object)
    }
    guard !objects.isEmpty else { throw Failure("\(source): expected rows, found none") }
    let columns = names.sorted()
    var cells: [[String]] = []
    for (index, object) in objects.enumerated() {
      var row: [String] = []
      for name in columns {
        // A feature absent from one row is missing there.
        row.append(try object[name]?.cell(at: "\(source): row \(index + 1)", feature: name) ?? "")
      }
      cells.append(row)
    }
    self.init(source: source, columns: columns, rows: cells) { "row \($0 + 1)" }
  }
}

/// A JSON value of any type.
enum JSONValue: Decodable {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(Bool.self) {
      self = .bool(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode([JSONValue].self) {
      self = .array(value)
    } else {
      self = .object(try container.decode([String: JSONValue].self))
    }
  }

  var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a truth value"
    case .number: "a number"
    case .string: "a string"
    case .array: "a list"
    case .object: "an object"
    }
  }

  func cell(at place: String, feature: String) throws(Failure) -> String {
    switch self {
    case .null: ""
    case .bool(let value): value ? "true" : "false"
    case .number(let value): value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
    case .string(let value): value
    case .array, .object:
      throw Failure("\(place): feature \(feature.quotedForMessage): expected a number or a string, found \(kind)")
    }
  }
}
