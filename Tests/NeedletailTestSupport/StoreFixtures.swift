import Foundation
public import NeedletailBundle
internal import NeedletailCore

/// A store in a temporary directory, gone when the test ends.
public final class TemporaryStore: Sendable {
  private let directory: TemporaryDirectory

  public init() throws { directory = try TemporaryDirectory() }

  public var path: String { directory.path }

  /// Where a version lies, below the store or in full.
  public func path(_ model: String, _ version: UInt64) -> String { file("\(model)/\(version).ntb") }

  public func file(_ place: String) -> String { directory.file(place) }

  /// A signed bundle of ``BundleFixtures/line(weight:bias:)``: its answer to x = 1 is `weight`.
  public static func line(
    _ model: String, _ version: UInt64, weight: Float, keys: [SigningKey] = [BundleFixtures.key]
  ) throws -> [UInt8] {
    try BundleFixtures.bundle(
      model: model, version: version, BundleFixtures.contents(BundleFixtures.line(weight: weight)), keys: keys)
  }

  /// Publishes such a bundle as the trainer does: whole or not at all. `weight` is the version unless given.
  @discardableResult
  public func publish(
    _ model: String, _ version: UInt64, weight: Float? = nil, keys: [SigningKey] = [BundleFixtures.key],
    replace: Bool = false
  ) throws -> String {
    try publish(
      Self.line(model, version, weight: weight ?? Float(version), keys: keys), model, version, replace: replace)
  }

  @discardableResult
  public func publish(_ bytes: [UInt8], _ model: String, _ version: UInt64, replace: Bool = false) throws -> String {
    try Publisher.publish(
      bytes, model: ModelID(model), version: ModelVersion(version)!, store: path, replace: replace)
  }

  /// Writes any bytes in place, as `cp` does; makes the directories on the way.
  @discardableResult
  public func write(_ bytes: some Sequence<UInt8>, to place: String) throws -> String {
    let path = file(place)
    try makeDirectory((place as NSString).deletingLastPathComponent)
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    return path
  }

  /// Adds bytes to a file, as a slow copy does.
  public func append(_ bytes: some Sequence<UInt8>, to place: String) throws {
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: file(place)))
    defer { try? handle.close() }
    try handle.seekToEnd()
    try handle.write(contentsOf: Data(bytes))
  }

  public func makeDirectory(_ place: String) throws {
    try FileManager.default.createDirectory(atPath: file(place), withIntermediateDirectories: true)
  }

  public func link(_ place: String, to target: String) throws {
    try FileManager.default.createSymbolicLink(atPath: file(place), withDestinationPath: target)
  }

  /// Replaces what stands at `place` in one step.
  public func rename(_ from: String, to place: String) throws {
    guard Foundation.rename(file(from), file(place)) == 0 else {
      throw CocoaError(.fileWriteUnknown)
    }
  }

  public func remove(_ place: String) throws { try FileManager.default.removeItem(atPath: file(place)) }

  /// Flips one bit, in place.
  public func flipBit(_ place: String, byte: Int) throws {
    var bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: file(place))))
    bytes[byte] ^= 1
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: file(place)))
    defer { try? handle.close() }
    try handle.write(contentsOf: Data(bytes))
  }
}
