internal import Foundation

/// Numbers as people like to read them.
enum Figures {
  static func fixed(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }

  /// Up to four significant digits.
  static func short(_ value: Double) -> String { String(format: "%.4g", value) }

  /// Digits in groups of three: `1,257`.
  static func count(_ value: Int) -> String {
    var groups: [String] = []
    var rest = abs(value)
    while rest >= 1000 {
      let digits = String(rest % 1000)
      groups.insert(String(repeating: "0", count: 3 - digits.count) + digits, at: 0)
      rest /= 1000
    }
    groups.insert(String(rest), at: 0)
    return (value < 0 ? "-" : "") + groups.joined(separator: ",")
  }

  static func bytes(_ value: Int) -> String {
    switch value {
    case ..<1024: "\(value) B"
    case ..<(1024 * 1024): fixed(Double(value) / 1024, 1) + " KiB"
    case ..<(1024 * 1024 * 1024): fixed(Double(value) / 1_048_576, 1) + " MiB"
    default: fixed(Double(value) / 1_073_741_824, 2) + " GiB"
    }
  }

  static func microseconds(_ value: Double) -> String {
    value < 1000 ? fixed(value, value < 10 ? 2 : 1) + " µs" : fixed(value / 1000, 2) + " ms"
  }

  /// A time as `12s`, `3m 05s` or `2h 10m`.
  static func duration(_ seconds: Double) -> String {
    guard seconds.isFinite, seconds >= 0 else { return "–" }
    if seconds < 10 { return fixed(seconds, 1) + "s" }
    let whole = Int(min(seconds, 1e9).rounded())
    if whole < 60 { return "\(whole)s" }
    if whole < 3600 { return "\(whole / 60)m " + String(format: "%02ds", whole % 60) }
    return "\(whole / 3600)h " + String(format: "%02dm", whole / 60 % 60)
  }
}
