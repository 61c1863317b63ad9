internal import NeedletailCore
internal import NeedletailCrypto

/// Writes that never replace what another has written, unless asked to.
extension Bucket {
  /// Objects up to this size are sent in one request, larger ones in parts of this size or more.
  public static let partBytes = 16 << 20
  /// Parts that S3 accepts of one object.
  private static let partsMax = 10_000
  /// Field beside an object that names the write which made it.
  private static let writerField = "needletail-write"
  /// Object whose conditional write shows that the store obeys conditions.
  private static let probePath = ".needletail-conditional-writes"
  private static let sendSeconds: UInt64 = 30

  /// Writes an object: a reader sees all of it or nothing.
  ///
  /// - Parameters:
  ///   - replacing: false refuses to touch an object that is there.
  ///   - partBytes: size beyond which it goes in parts.
  /// - Throws: `.conditionFailed` if there is one.
  public func write(
    _ bytes: [UInt8], to path: String, replacing: Bool, partBytes: Int = Bucket.partBytes
  ) throws(ObjectStoreError) {
    let isConditional = !replacing && location.writesConditionally
    if !replacing, !isConditional, try head(path) != nil {
      throw ObjectStoreError(.conditionFailed, "\(location.name)/\(path): expected no such object, found one")
    }
    let writer = Hex.text(CryptoLibrary.randomBytes(16))
    let fields = [
      (name: "x-amz-meta-\(Self.writerField)", value: writer),
      (name: "x-amz-meta-\(Self.hashField)", value: Hex.text(SHA256.hash(bytes))),
    ]
    let condition = isConditional ? [(name: "if-none-match", value: "*")] : []
    do throws(ObjectStoreError) {
      if bytes.count <= partBytes {
        _ = try perform(
          .put, "PUT", location.key(path), headers: fields + condition, body: bytes[...],
          seconds: Self.seconds(moving: UInt64(bytes.count)))
      } else {
        try writeParts(bytes, to: path, fields: fields, condition: condition, partBytes: partBytes)
      }
    } catch {
      // The answer to an earlier attempt may be lost: then the object that is in the way is this one.
      guard isConditional, error.reason == .conditionFailed || error.reason == .notFound,
        let found = try head(path), found.metadata[Self.writerField] == writer
      else { throw error }
    }
  }

  /// Proves that this place can be written, and that the store obeys the condition by which two publishers never
  /// replace each other's versions.
  ///
  /// - Throws: `.denied`, or `.unsupported` for a store that ignores the condition.
  public func checkWritable() throws(ObjectStoreError) {
    guard location.writesConditionally else {
      // A store without conditions shows by its answer that it can be written.
      return try write(Array("needletail\n".utf8), to: Self.probePath, replacing: true)
    }
    // The first write makes the object, unless an earlier one did; a later one must be refused.
    for _ in 0..<2 {
      do throws(ObjectStoreError) {
        _ = try perform(
          .put, "PUT", location.key(Self.probePath), headers: [(name: "if-none-match", value: "*")],
          body: Array("needletail\n".utf8)[...], seconds: Self.sendSeconds)
      } catch {
        switch error.reason {
        case .conditionFailed: return
        case .unsupported, .configuration: throw Self.unconditional(location, "\(error)")
        default: throw error
        }
      }
    }
    throw Self.unconditional(location, "it replaced an object although it was told not to")
  }

  private static func unconditional(_ location: ObjectStoreLocation, _ found: String) -> ObjectStoreError {
    ObjectStoreError(
      .unsupported,
      "\(location.name): expected a store that knows If-None-Match, found: \(found); conditional=off does without, "
        + "where only one publisher writes at a time")
  }

  private func writeParts(
    _ bytes: [UInt8], to path: String, fields: [(name: String, value: String)],
    condition: [(name: String, value: String)], partBytes: Int
  ) throws(ObjectStoreError) {
    let key = location.key(path)
    let begun = try XMLElement.parse(
      perform(.put, "POST", key, query: [(name: "uploads", value: "")], headers: fields, seconds: Self.sendSeconds)
        .body)
    guard let upload = begun["UploadId"], (1...2048).contains(upload.utf8.count) else {
      throw ObjectStoreError(.malformed, "upload: expected its id, found none")
    }
    do throws(ObjectStoreError) {
      let size = max(partBytes, (bytes.count + Self.partsMax - 1) / Self.partsMax)
      var document = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
      for (index, start) in stride(from: 0, to: bytes.count, by: size).enumerated() {
        let part = bytes[start..<min(start + size, bytes.count)]
        let response = try perform(
          .put, "PUT", key, query: [(name: "partNumber", value: "\(index + 1)"), (name: "uploadId", value: upload)],
          body: part, seconds: Self.seconds(moving: UInt64(part.count)))
        let tag = try BucketObject.tag(response.head["etag"])
        guard !tag.contains(where: { "<>&".contains($0) }) else {
          throw ObjectStoreError(.malformed, "upload: expected a plain ETag of a part, found \(tag.quotedForMessage)")
        }
        document += "<Part><PartNumber>\(index + 1)</PartNumber><ETag>\"\(tag)\"</ETag></Part>"
      }
      document += "</CompleteMultipartUpload>"
      _ = try perform(
        .put, "POST", key, query: [(name: "uploadId", value: upload)],
        headers: [(name: "content-type", value: "application/xml")] + condition, body: Array(document.utf8)[...],
        seconds: Self.seconds(moving: UInt64(bytes.count)))
    } catch {
      // Parts of an upload that nobody completes cost money; a lifecycle rule of the bucket removes what stays.
      _ = try? perform(
        .put, "DELETE", key, query: [(name: "uploadId", value: upload)], seconds: Self.sendSeconds)
      throw error
    }
  }
}
