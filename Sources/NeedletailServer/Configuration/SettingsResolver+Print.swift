extension SettingsResolver {
  /// All settings as a YAML file that gives the same configuration; a comment behind each value says
  /// where it came from.
  public var yaml: String {
    var lines: [String] = ["# needletail-server: flags, then environment, then file, then defaults."]
    var section = ""
    for item in resolved {
      let parts = item.setting.key.split(separator: ".").map(String.init)
      let isNested = parts.count > 1
      if isNested, parts[0] != section { lines.append("\(parts[0]):") }
      section = isNested ? parts[0] : ""
      let indent = isNested ? "  " : ""
      lines.append("\(indent)# \(item.setting.summary).")
      guard let text = item.text, let name = parts.last else {
        lines.append("\(indent)# \(parts.last ?? item.setting.key):   # not set")
        continue
      }
      lines.append("\(indent)\(name): \(Self.scalar(text, kind: item.setting.kind))   # \(item.source)")
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// Numbers and flags plain, texts quoted: a path may look like anything.
  private static func scalar(_ text: String, kind: Setting.Kind) -> String {
    switch kind {
    case .flag, .integer, .seconds, .choice: return text
    case .path, .address:
      var quoted = "\""
      for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": quoted += "\\\""
        case "\\": quoted += "\\\\"
        case "\n": quoted += "\\n"
        case "\t": quoted += "\\t"
        default:
          if scalar.value < 0x20 || scalar.value == 0x7F {
            let digits = String(scalar.value, radix: 16)
            quoted += "\\x" + (digits.count == 1 ? "0" : "") + digits
          } else {
            quoted.unicodeScalars.append(scalar)
          }
        }
      }
      return quoted + "\""
    }
  }
}
