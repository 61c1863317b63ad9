internal import Foundation
internal import NeedletailClient

extension FeatureTable {
  /// Reads `path`, or standard input for `-`: JSON if the name ends so or the text begins so, else CSV.
  init(path: String) throws(Failure) {
    let data: Data
    if path == "-" {
      data = FileHandle.standardInput.readDataToEndOfFile()
    } else {
      do {
        data = try Data(contentsOf: URL(fileURLWithPath: path))
      } catch {
        throw Failure("\(path): cannot be read: \(String(cString: strerror(errno)).lowercased())")
      }
    }
    let source = path == "-" ? "standard input" : path
    let first = data.first { !" \t\r\n".utf8.contains($0) }
    let isJSON =
      path.hasSuffix(".json")
      || (!path.hasSuffix(".csv") && (first == UInt8(ascii: "{") || first == UInt8(ascii: "[")))
    if isJSON {
      try self.init(json: data, source: source)
    } else {
      try self.init(csv: data, source: source)
    }
  }

  /// One row from `feature=value` pairs.
  init(pairs: [String]) throws(Failure) {
    var columns: [String] = []
    var row: [String] = []
    for pair in pairs {
      guard let equals = pair.firstIndex(of: "="), equals != pair.startIndex else {
        throw Failure("--set: expected FEATURE=VALUE, found \(pair.quotedForMessage)")
      }
      columns.append(String(pair[..<equals]))
      row.append(String(pair[pair.index(after: equals)...]))
    }
    self.init(source: "--set", columns: columns, rows: [row]) { _ in "the row" }
  }
}
