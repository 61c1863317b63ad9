public import NeedletailBundle
public import NeedletailCore

/// Bundles and rollout files in a bucket, under the names that they have in a directory:
/// `PREFIX/<model>/<version>.ntb` and `PREFIX/<model>/rollout.yaml`.
///
/// The trainer publishes with it, and the server's store reads with it. Calls block.
public struct BundleBucket: Sendable {
  public let bucket: Bucket

  public static let fileSuffix = ".ntb"
  public static let rolloutName = "rollout.yaml"

  public init(_ bucket: Bucket) { self.bucket = bucket }

  /// Opens the bucket that a text such as `s3://models/production` names; makes no request.
  ///
  /// - Throws: `.io` for a text that names none.
  public init(opening location: String, environment: [String: String]) throws(BundleError) {
    do throws(ObjectStoreError) {
      bucket = try Bucket(ObjectStoreLocation(location, environment: environment), environment: environment)
    } catch {
      throw BundleError(error)
    }
  }

  /// Path of a version below the prefix.
  public static func path(of model: ModelID, _ version: ModelVersion) -> String { "\(model)/\(version)\(fileSuffix)" }

  /// Where a version lies, in words for people.
  public func place(of model: ModelID, _ version: ModelVersion) -> String {
    "\(bucket.location.name)/\(Self.path(of: model, version))"
  }

  /// One above the highest version in the bucket, 1 for a new model.
  ///
  /// - Throws: `.io` if it cannot be listed, `.oversized` if it holds too many objects, or no number is left.
  public func nextVersion(of model: ModelID) throws(BundleError) -> ModelVersion {
    let listing: Bucket.Listing
    do throws(ObjectStoreError) { listing = try bucket.list("\(model)/") } catch { throw BundleError(error) }
    guard !listing.isCut else {
      throw BundleError(
        .oversized,
        "\(bucket.location.name)/\(model): expected at most \(Limits.bucketObjectsMax) objects, found more")
    }
    let highest = listing.objects.compactMap { Self.version($0.path.dropFirst(model.name.utf8.count + 1))?.number }
      .max()
    guard let next = ModelVersion((highest ?? 0) &+ 1) else {
      throw BundleError(
        .oversized,
        "version: expected one below \(UInt64.max) in \(bucket.location.name)/\(model), found it: no number is left")
    }
    return next
  }

  /// The version that a file's name says; nil for other names.
  public static func version(_ name: some StringProtocol) -> ModelVersion? {
    name.hasSuffix(fileSuffix) ? ModelVersion(decimal: name.dropLast(fileSuffix.count)) : nil
  }

  /// Adds a version so that a reader sees all of it or nothing, and two publishers never replace each other's.
  ///
  /// - Parameter replace: false refuses to touch a version that is there.
  /// - Returns: where it lies, in words for people.
  /// - Throws: `.exists`, `.wrongName` if the bundle is another model or version, or `.io`.
  public func publish(
    _ bytes: [UInt8], model: ModelID, version: ModelVersion, replace: Bool = false
  ) throws(BundleError) -> String {
    try Publisher.checkIdentity(bytes, model: model, version: version)
    let place = place(of: model, version)
    do throws(ObjectStoreError) {
      try bucket.write(bytes, to: Self.path(of: model, version), replacing: replace)
    } catch {
      throw error.reason == .conditionFailed ? Publisher.existing(place) : BundleError(error)
    }
    return place
  }

  /// Reads a version into memory.
  ///
  /// - Returns: nil if there is none.
  /// - Throws: `.oversized`, or `.io`.
  public func read(
    _ model: ModelID, _ version: ModelVersion, limits: BundleLimits = BundleLimits()
  ) throws(BundleError) -> BundleFile? {
    let path = Self.path(of: model, version)
    let bytes: [UInt8]
    do throws(ObjectStoreError) {
      guard let object = try bucket.head(path) else { return nil }
      guard object.bytes <= UInt64(limits.fileBytesMax) else {
        throw ObjectStoreError(
          .oversized,
          "\(place(of: model, version)): expected at most \(limits.fileBytesMax) bytes, found \(object.bytes)")
      }
      bytes = try bucket.read(path, tag: object.tag, bytesMax: Int(object.bytes))
    } catch {
      throw BundleError(error)
    }
    return try BundleFile(bytes: bytes)
  }

  /// Text of a model's rollout file as it is now; nil if there is none.
  ///
  /// - Throws: `.io`, or `.malformed` for bytes that are no text.
  public func rollout(of model: ModelID) throws(BundleError) -> String? {
    let path = "\(model)/\(Self.rolloutName)"
    do throws(ObjectStoreError) {
      let bytes = try bucket.read(path, bytesMax: Limits.rolloutFileBytesMax)
      guard let text = String(validating: bytes, as: UTF8.self) else {
        throw ObjectStoreError(.malformed, "\(bucket.location.name)/\(path): expected UTF-8 text, found other bytes")
      }
      return text
    } catch {
      guard error.reason == .notFound else { throw BundleError(error) }
      return nil
    }
  }

  /// Replaces a model's rollout file so that a reader sees the old text or the new one. The text is not checked.
  ///
  /// - Returns: where it lies, in words for people.
  /// - Throws: `.io`.
  public func writeRollout(_ text: String, of model: ModelID) throws(BundleError) -> String {
    let path = "\(model)/\(Self.rolloutName)"
    do throws(ObjectStoreError) {
      try bucket.write(Array(text.utf8), to: path, replacing: true)
    } catch {
      throw BundleError(error)
    }
    return "\(bucket.location.name)/\(path)"
  }
}

extension BundleError {
  /// A request to an object store that failed.
  public init(_ error: ObjectStoreError) {
    self.init(error.reason == .oversized ? .oversized : error.reason == .malformed ? .malformed : .io, error.message)
  }
}
