/// An object as a listing or the store's own fields describe it.
public struct BucketObject: Equatable, Sendable {
  /// Key below the location's prefix.
  public var path: String
  /// Token that changes with the object's bytes, without quotes.
  public var tag: String
  public var bytes: UInt64
  /// The object's own fields `x-amz-meta-…`, without that prefix; a listing has none.
  var metadata: [String: String] = [:]

  /// Longest token that is accepted: ETags of S3 have 32 digits and perhaps a count of parts.
  public static let tagBytesMax = 64

  public init(path: String, tag: String, bytes: UInt64) {
    self.path = path
    self.tag = tag
    self.bytes = bytes
  }

  /// An ETag without its quotes.
  /// - Throws: `.malformed` for one that is empty, too long or not printable.
  static func tag(_ text: String?) throws(ObjectStoreError) -> String {
    var tag = text?[...] ?? ""
    if tag.hasPrefix("W/") { tag = tag.dropFirst(2) }
    if tag.count >= 2, tag.hasPrefix("\""), tag.hasSuffix("\"") { tag = tag.dropFirst().dropLast() }
    guard (1...tagBytesMax).contains(tag.utf8.count), tag.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x22 })
    else {
      throw ObjectStoreError(
        .malformed, "ETag: expected 1 to \(tagBytesMax) printable characters, found something else")
    }
    return String(tag)
  }
}
