internal import ArgumentParser
internal import Foundation
internal import NeedletailCore

/// Time of captured calls: `2026-11-28T05:10:00.123456Z`.
struct CapturedTime: ExpressibleByArgument {
  /// Since 1970 (UTC).
  let microseconds: UInt64

  /// Reads a time of RFC 3339, with a fraction of a second or without.
  init?(argument: String) {
    let format = ISO8601DateFormatter()
    if argument.contains(".") { format.formatOptions.insert(.withFractionalSeconds) }
    guard let date = format.date(from: argument),
      let microseconds = UInt64(exactly: (date.timeIntervalSince1970 * 1_000_000).rounded())
    else { return nil }
    self.microseconds = microseconds
  }

  static func text(_ microseconds: UInt64) -> String {
    let seconds = UnixTime.text(milliseconds: microseconds / 1_000_000 * 1000)
    guard seconds.hasSuffix("Z") else { return seconds }
    let digits = String(microseconds % 1_000_000)
    return seconds.dropLast() + "." + String(repeating: "0", count: 6 - digits.count) + digits + "Z"
  }
}
