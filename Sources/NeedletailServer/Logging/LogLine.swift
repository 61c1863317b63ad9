internal import NeedletailCore

/// Renders one log event as one line, newline included.
enum LogLine {
  /// `2026-01-02T03:04:05.678Z info listening address=127.0.0.1:6470`
  static func text(time: String, level: String, message: String, pairs: [(key: String, value: String)]) -> String {
    var line = "\(time) \(level) \(oneLine(message))"
    for (key, value) in pairs {
      line += " \(key)=\(value.allSatisfy(isPlain) && !value.isEmpty ? value : value.jsonQuoted)"
    }
    return line + "\n"
  }

  /// `{"time":"…","level":"info","message":"listening","address":"127.0.0.1:6470"}`
  static func json(time: String, level: String, message: String, pairs: [(key: String, value: String)]) -> String {
    var line = "{\"time\":\(time.jsonQuoted),\"level\":\(level.jsonQuoted),\"message\":\(message.jsonQuoted)"
    // The three words above are ours; a pair of the same name would make the key appear twice.
    for (key, value) in pairs {
      let name = ["time", "level", "message"].contains(key) ? key + "_" : key
      line += ",\(name.jsonQuoted):\(value.jsonQuoted)"
    }
    return line + "}\n"
  }

  private static func isPlain(_ character: Character) -> Bool {
    guard let scalar = character.unicodeScalars.first, character.unicodeScalars.count == 1 else { return false }
    return scalar.value > 0x20 && scalar.value < 0x7F && scalar != "\"" && scalar != "=" && scalar != "\\"
  }

  private static func oneLine(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.map { $0.isControlInText ? " " : $0 }))
  }
}
