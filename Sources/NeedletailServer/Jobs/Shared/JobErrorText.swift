internal import NeedletailCore

/// An error as a record in Redis holds it: its parts one after the other, each as its length, a colon, its bytes and a
/// comma (a netstring).
enum JobErrorText {
  static func encode(_ error: ServingError) -> [UInt8] {
    let detail = error.detail
    let parts: [String] = [
      "\(error.code.rawValue)", "\(error.retryAfterMicroseconds)",
      error.message.cut(toBytes: Limits.jobErrorBytesMax / 2),
      (detail?.field ?? "").cut(toBytes: 1024), detail?.row.map { "\($0)" } ?? "", detail?.limit?.name ?? "",
      detail?.limit.map { "\($0.maximum)" } ?? "", detail?.limit.map { "\($0.found)" } ?? "",
    ]
    return parts.flatMap { Array("\($0.utf8.count):\($0),".utf8) }
  }

  /// - Returns: nil for anything that ``encode(_:)`` does not write.
  static func decode(_ bytes: [UInt8]) -> ServingError? {
    guard bytes.count <= Limits.jobErrorBytesMax, let parts = parts(bytes[...]), parts.count == 8,
      let raw = UInt8(parts[0]), let code = StatusCode(rawValue: raw), code != .ok, let retry = UInt32(parts[1])
    else { return nil }
    let row = UInt64(parts[4])
    guard row != nil || parts[4].isEmpty else { return nil }
    var limit: ErrorDetail.Limit?
    if !parts[5].isEmpty {
      guard let maximum = UInt64(parts[6]), let found = UInt64(parts[7]) else { return nil }
      limit = .init(parts[5], maximum: maximum, found: found)
    }
    let isPlain = parts[3].isEmpty && row == nil && limit == nil
    return ServingError(
      code, parts[2], retryAfterMicroseconds: retry,
      detail: isPlain ? nil : ErrorDetail(field: parts[3], row: row, limit: limit))
  }

  private static func parts(_ bytes: ArraySlice<UInt8>) -> [String]? {
    var rest = bytes
    var parts: [String] = []
    while !rest.isEmpty {
      guard let colon = rest.prefix(8).firstIndex(of: UInt8(ascii: ":")),
        let count = Int(String(decoding: rest[..<colon], as: UTF8.self)), count >= 0,
        count < rest.endIndex - colon - 1
      else { return nil }
      let start = colon + 1
      guard rest[start + count] == UInt8(ascii: ","),
        let text = String(validating: rest[start..<start + count], as: UTF8.self)
      else { return nil }
      parts.append(text)
      rest = rest[(start + count + 1)...]
    }
    return parts
  }
}
