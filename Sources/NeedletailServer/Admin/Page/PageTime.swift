#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// A moment as the page shows it, UTC.
struct PageTime {
  /// `2026-11-21T11:30:00Z`.
  let timestamp: String

  init(milliseconds: UInt64) {
    timestamp = Date(timeIntervalSince1970: Double(milliseconds) / 1000).formatted(.iso8601)
  }

  /// `11:30:00`.
  var clock: String { String(timestamp.dropLast().suffix(8)) }

  /// `text`, with the whole moment behind it.
  func write(_ text: String, _ html: inout HTMLWriter) {
    html.element("time", ["datetime": timestamp, "title": timestamp], text)
  }
}
