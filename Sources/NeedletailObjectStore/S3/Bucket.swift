internal import Glibc
public import NeedletailCore
public import NeedletailSystem
internal import Synchronization

/// Objects below one prefix of a bucket: listing and reading. `Bucket+Write.swift` has what changes them.
///
/// Every request is signed, bounded in time, and sent again with growing pauses where that may help. Calls block. Any
/// number of threads may use a bucket.
///
/// ```swift
/// let bucket = try Bucket(ObjectStoreLocation("s3://models/production", environment: environment),
///   environment: environment)
/// for object in try bucket.list().objects { print(object.path, object.tag, object.bytes) }
/// ```
public final class Bucket: Sendable {
  public let location: ObjectStoreLocation
  private let client: HTTPClient
  private let source: CredentialsSource
  private let observer: (any BucketObserver)?
  private let retries = RetryPolicy()
  /// Seconds that the store's clock is ahead of this one, where it has complained.
  private let clockOffset = Mutex(0)

  /// Objects of one page of a listing, which S3 bounds.
  private static let pageObjects = 1000
  private static let pageBytesMax = 8 << 20
  /// Time for a request that moves little, all its attempts together.
  private static let shortSeconds: UInt64 = 10
  /// Time for a request that moves much, before its bytes count.
  private static let longSeconds: UInt64 = 60
  /// Bytes per second that a transfer has to reach, all its attempts together.
  private static let rateMin: UInt64 = 128 << 10

  /// Makes no request.
  ///
  /// - Throws: `.configuration`.
  public init(
    _ location: ObjectStoreLocation, environment: [String: String], observer: (any BucketObserver)? = nil
  ) throws(ObjectStoreError) {
    self.location = location
    self.observer = observer
    client = try HTTPClient(location.endpoint, authorities: location.authorities)
    source = try CredentialsSource(
      environment: environment, profile: location.profile, asksInstanceMetadata: location.asksInstanceMetadata)
  }

  /// Everything that a listing found.
  public struct Listing: Sendable {
    /// In the order of their keys.
    public var objects: [BucketObject] = []
    /// Whether there were more than asked for.
    public var isCut = false

    public init() {}
  }

  /// Lists the objects below a path, page by page.
  ///
  /// - Parameters:
  ///   - path: beginning of the paths that count.
  ///   - objectsMax: most objects that are listed.
  /// - Throws: the fault of any page: half a listing would look as if objects had gone.
  public func list(_ path: String = "", objectsMax: Int = Limits.bucketObjectsMax) throws(ObjectStoreError) -> Listing {
    var listing = Listing()
    var token: String?
    let top = location.prefix.isEmpty ? "" : location.prefix + "/"
    repeat {
      var query = [
        (name: "list-type", value: "2"), (name: "encoding-type", value: "url"),
        (name: "max-keys", value: "\(min(Self.pageObjects, objectsMax))"), (name: "prefix", value: top + path),
      ]
      if let token { query.append((name: "continuation-token", value: token)) }
      let response = try perform(
        .list, "GET", "", query: query, seconds: Self.shortSeconds, bodyBytesMax: Self.pageBytesMax)
      let page = try XMLElement.parse(response.body)
      guard page.name == "ListBucketResult" else {
        throw ObjectStoreError(.malformed, "listing: expected ListBucketResult, found \(page.name.quotedForMessage)")
      }
      for item in page.children where item.name == "Contents" {
        guard listing.objects.count < objectsMax else {
          listing.isCut = true
          return listing
        }
        listing.objects.append(try Self.object(item, top: top))
      }
      guard page["IsTruncated"] == "true" else { return listing }
      guard let next = page["NextContinuationToken"], !next.isEmpty, next != token else {
        throw ObjectStoreError(.malformed, "listing: expected a token for its next page, found none")
      }
      token = next
    } while listing.objects.count < objectsMax
    listing.isCut = true
    return listing
  }

  private static func object(_ item: XMLElement, top: String) throws(ObjectStoreError) -> BucketObject {
    // As the query asks, the key is encoded like a form, where a plus is a space.
    let text = item["Key"].map { $0.map { $0 == "+" ? " " : String($0) }.joined() }
    guard let key = text.flatMap({ PercentEncoding.decode($0) }), key.hasPrefix(top),
      let bytes = item["Size"].flatMap({ UInt64($0) })
    else { throw ObjectStoreError(.malformed, "listing: expected objects with key and size, found something else") }
    return BucketObject(
      path: String(key.dropFirst(top.count)), tag: try BucketObject.tag(item["ETag"]), bytes: bytes)
  }

  /// Asks for an object's fields.
  ///
  /// - Returns: nil if there is no such object.
  public func head(_ path: String) throws(ObjectStoreError) -> BucketObject? {
    do throws(ObjectStoreError) {
      let response = try perform(.head, "HEAD", location.key(path), seconds: Self.shortSeconds)
      return try Self.object(path, response.head)
    } catch {
      guard error.reason == .notFound else { throw error }
      return nil
    }
  }

  private static func object(_ path: String, _ head: HTTPResponseHead) throws(ObjectStoreError) -> BucketObject {
    var object = BucketObject(
      path: path, tag: try BucketObject.tag(head["etag"]),
      bytes: head["content-length"].flatMap { UInt64($0) } ?? 0)
    for (name, value) in head.headers where name.hasPrefix("x-amz-meta-") {
      object.metadata[String(name.dropFirst("x-amz-meta-".count))] = value
    }
    return object
  }

  /// Reads an object into memory.
  ///
  /// - Parameters:
  ///   - tag: of the bytes that are wanted; nil: those of now.
  ///   - bytesMax: most bytes that it may have.
  /// - Throws: `.notFound`, `.conditionFailed` if the object has other bytes by now, `.oversized`.
  public func read(_ path: String, tag: String? = nil, bytesMax: Int) throws(ObjectStoreError) -> [UInt8] {
    let response = try perform(
      .get, "GET", location.key(path), headers: Self.condition(tag), seconds: Self.seconds(moving: UInt64(bytesMax)),
      bodyBytesMax: bytesMax)
    return response.body
  }

  /// Copies an object into a file.
  ///
  /// - Parameters:
  ///   - object: as listed; other bytes by now are `.conditionFailed`.
  ///   - file: empty and open for writing.
  /// - Returns: hexadecimal SHA-256 that the publisher has noted beside the object; nil: none.
  /// - Throws: `.torn` if the size is not the listed one, `.io` if the file cannot be written.
  public func download(_ object: BucketObject, into file: borrowing FileDescriptor) throws(ObjectStoreError) -> String?
  {
    let number = file.number
    let name = file.path
    let place = "\(location.name)/\(object.path)"
    let counter = Mutex<UInt64>(0)
    let response = try perform(
      .get, "GET", location.key(object.path), headers: Self.condition(object.tag),
      seconds: Self.seconds(moving: object.bytes)
    ) { () throws(ObjectStoreError) in
      // Each attempt begins anew.
      counter.withLock { $0 = 0 }
      guard ftruncate(number, 0) == 0, lseek(number, 0, SEEK_SET) == 0 else {
        throw ObjectStoreError(.io, SystemError("empty \(name)").description)
      }
    } sink: { (bytes) throws(ObjectStoreError) in
      let found = counter.withLock { count in
        count += UInt64(bytes.count)
        return count
      }
      guard found <= object.bytes else {
        throw ObjectStoreError(.torn, "\(place): expected \(object.bytes) bytes as listed, found more")
      }
      var rest = bytes
      while !rest.isEmpty {
        let count = SystemError.retrying { Glibc.write(number, rest.baseAddress, rest.count) }
        guard count > 0 else { throw ObjectStoreError(.io, SystemError("write \(name)").description) }
        rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count))
      }
    } check: { (_) throws(ObjectStoreError) in
      let found = counter.withLock { $0 }
      guard found == object.bytes else {
        throw ObjectStoreError(.torn, "\(place): expected \(object.bytes) bytes as listed, found \(found)")
      }
    }
    return response.head["x-amz-meta-\(Self.hashField)"]
  }

  /// Field beside an object with the SHA-256 of its bytes.
  static let hashField = "sha256"

  private static func condition(_ tag: String?) -> [(name: String, value: String)] {
    tag.map { [(name: "if-match", value: "\"\($0)\"")] } ?? []
  }

  static func seconds(moving bytes: UInt64) -> UInt64 { longSeconds + bytes / rateMin }

  // MARK: requests

  /// Sends a request until it succeeds, cannot succeed, or time is up.
  ///
  /// - Parameters:
  ///   - key: full key of an object; empty: the bucket.
  ///   - seconds: time for all attempts.
  ///   - begin: called before each attempt.
  ///   - sink: gets the body of a success instead of memory.
  ///   - check: judges a success.
  func perform(
    _ operation: BucketOperation, _ method: String, _ key: String, query: [(name: String, value: String)] = [],
    headers: [(name: String, value: String)] = [], body: ArraySlice<UInt8> = [], seconds: UInt64,
    bodyBytesMax: Int = 1 << 20, begin: () throws(ObjectStoreError) -> Void = { () throws(ObjectStoreError) in },
    sink: HTTPConnection.Sink? = nil,
    check: (HTTPResponse) throws(ObjectStoreError) -> Void = { (_) throws(ObjectStoreError) in }
  ) throws(ObjectStoreError) -> HTTPResponse {
    let deadline = Instant.now().advanced(byMicroseconds: seconds * 1_000_000)
    var attempt = 0
    var hasRenewed = false
    while true {
      attempt += 1
      do throws(ObjectStoreError) {
        try begin()
        let request = try signed(method, key, query: query, headers: headers, body: body)
        let response = try client.send(request, deadline: deadline, bodyBytesMax: bodyBytesMax, sink: sink)
        if let error = StoreResponse.error(response, of: "\(method) \(location.name)", host: "\(location.endpoint)") {
          if error.reason == .clockSkew { try correctClock(response.head, error) }
          throw error
        }
        try check(response)
        retries.succeed()
        observer?.requested(operation, failed: nil)
        return response
      } catch {
        observer?.requested(operation, failed: error.reason)
        if error.reason == .clockSkew || (error.reason == .denied && location.asksInstanceMetadata), !hasRenewed {
          hasRenewed = true
          source.forget()
          continue
        }
        guard let pause = retries.pause(after: error, attempt: attempt),
          Instant.now().advanced(byMicroseconds: pause) < deadline
        else { throw error }
        observer?.retrying(operation)
        usleep(UInt32(clamping: pause))
      }
    }
  }

  private func signed(
    _ method: String, _ key: String, query: [(name: String, value: String)],
    headers: [(name: String, value: String)], body: ArraySlice<UInt8>
  ) throws(ObjectStoreError) -> HTTPRequest {
    let text = query.isEmpty ? "" : "?" + RequestSigner.query(query)
    var request = HTTPRequest(
      method: method, target: location.target(key) + text,
      headers: [(name: "host", value: location.endpoint.hostHeader)] + headers, body: body)
    let seconds = Int(UnixTime.nowMilliseconds() / 1000) + clockOffset.withLock { $0 }
    RequestSigner(credentials: try source.credentials(), region: location.region).sign(&request, at: seconds)
    return request
  }

  /// Takes the store's clock for the right one, where a signature was refused for its time.
  private func correctClock(_ head: HTTPResponseHead, _ error: ObjectStoreError) throws(ObjectStoreError) {
    guard let theirs = head["date"].flatMap({ RequestSigner.seconds(ofHTTPDate: $0) }) else { throw error }
    let ours = Int(UnixTime.nowMilliseconds() / 1000)
    clockOffset.withLock { $0 = theirs - ours }
  }
}
