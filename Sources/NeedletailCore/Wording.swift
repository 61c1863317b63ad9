/// Figures and times as people read them.
package enum Wording {
  /// `3 min ago`; a clock that went back says `now`.
  package static func age(since milliseconds: UInt64, now: UInt64) -> String {
    let seconds = milliseconds < now ? (now - milliseconds) / 1000 : 0
    switch seconds {
    case 0: return "now"
    case ..<120: return "\(seconds) s ago"
    case ..<7200: return "\(seconds / 60) min ago"
    case ..<172_800: return "\(seconds / 3600) h ago"
    default: return "\(seconds / 86_400) d ago"
    }
  }

  /// `840 µs`, `1.25 ms`, `3.1 s`.
  package static func duration(microseconds: UInt32) -> String {
    switch microseconds {
    case ..<1000: "\(microseconds) µs"
    case ..<1_000_000: "\(threeDigits(Double(microseconds) / 1e3)) ms"
    default: "\(threeDigits(Double(microseconds) / 1e6)) s"
    }
  }

  /// `0`, `0.45`, `12.3`, `1,250`.
  package static func rate(_ perSecond: Double) -> String {
    // What another server says may be any number.
    perSecond < 999.5 ? threeDigits(perSecond) : grouped(UInt64(exactly: perSecond.rounded()) ?? .max)
  }

  /// `0 %`, `95 %`, `4.7 %`, `<0.1 %`.
  package static func share(_ share: Double) -> String {
    let percent = share * 100
    if percent > 0, percent < 0.1 { return "<0.1 %" }
    let tenths = Int((percent * 10).rounded())
    return tenths % 10 == 0 ? "\(tenths / 10) %" : "\(tenths / 10).\(tenths % 10) %"
  }

  /// `12 KiB`, `3.4 MiB`.
  package static func bytes(_ bytes: UInt64) -> String {
    switch bytes {
    case ..<1024: "\(bytes) B"
    case ..<(1 << 20): "\(threeDigits(Double(bytes) / 1024)) KiB"
    case ..<(1 << 30): "\(threeDigits(Double(bytes) / Double(1 << 20))) MiB"
    default: "\(threeDigits(Double(bytes) / Double(1 << 30))) GiB"
    }
  }

  /// `1,250,000`.
  package static func grouped(_ number: UInt64) -> String {
    var text = ""
    for (index, digit) in String(number).reversed().enumerated() {
      if index > 0, index.isMultiple(of: 3) { text.append(",") }
      text.append(digit)
    }
    return String(text.reversed())
  }

  /// Three digits of a number below 1,000 that is not negative, without trailing zeros.
  private static func threeDigits(_ value: Double) -> String {
    let decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2
    let scale = decimals == 0 ? 1 : decimals == 1 ? 10 : 100
    let scaled = Int((value * Double(scale)).rounded())
    var text = "\(scaled / scale)"
    if decimals > 0, scaled % scale != 0 {
      var fraction = "\(scaled % scale)"
      while fraction.count < decimals { fraction = "0" + fraction }
      while fraction.last == "0" { fraction.removeLast() }
      text += "." + fraction
    }
    return text
  }
}
