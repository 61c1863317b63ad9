/// Renders one log event as one line, newline included.
enum LogLine {
  /// `2026-01-02T03:04:05.678Z info listening address=127.0.0.1:6470`
  static func text(time: String, level: String, message: String, pairs: [(key: String, value: String)]) -> String {
    var line = "\(time) \(level) \(oneLine(message))"
    for (key, value) in pairs {
      line += " \(key)=\(value.allSatisfy(isPlain) && !value.isEmpty ? value : quoted(value))"
    }
    return line + "\n"
  }

  /// `{"time":"…","level":"info","message":"listening","address":"127.0.0.1:6470"}`
  static func json(time: String, level: String, message: String, pairs: [(key: String, value: String)]) -> String {
    var line = "{\"time\":\(quoted(time)),\"level\":\(quoted(level)),\"message\":\(quoted(message))"
    // The three words above are ours; a pair of the same name would make the key appear twice.
    for (key, value) in pairs {
      let name = ["time", "level", "message"].contains(key) ? key + "_" : key
      line += ",\(quoted(name)):\(quoted(value))"
    }
    return line + "}\n"
  }

  private static func isPlain(_ character: Character) -> Bool {
    guard let scalar = character.unicodeScalars.first, character.unicodeScalars.count == 1 else { return false }
    return scalar.value > 0x20 && scalar.value < 0x7F && scalar != "\"" && scalar != "=" && scalar != "\\"
  }

  private static func oneLine(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.map { isControl($0) ? " " : $0 }))
  }

  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) || scalar.value == 0x2028 || scalar.value == 0x2029
  }

  /// A JSON string.
  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      default:
        if isControl(scalar) {
          let digits = String(scalar.value, radix: 16)
          result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        } else {
          result.unicodeScalars.append(scalar)
        }
      }
    }
    return result + "\""
  }
}
