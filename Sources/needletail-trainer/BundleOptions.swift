import ArgumentParser
import NeedletailBundle
import NeedletailCore
import NeedletailTraining

/// Options of every command that makes a bundle: where it goes, who signs it, and what is printed.
struct BundleOptions: ParsableArguments {
  @Option(help: ArgumentHelp("A store to publish into.", valueName: "store"))
  var publish: String?

  @Option(help: ArgumentHelp("Signs the bundle; see: needletail bundle keygen.", valueName: "file"))
  var key: String?

  @Option(help: ArgumentHelp("The version; else the next free one of the store, or 1.", valueName: "n"))
  var version: UInt64?

  @Flag(name: .shortAndLong, help: "Prints nothing unless something is wrong.")
  var quiet = false

  @Flag(help: "Prints the result as JSON.")
  var json = false

  /// Whether progress is shown.
  var showsProgress: Bool { !quiet && !json }

  func validate() throws {
    if version == 0 { throw ValidationError("--version: expected a number from 1, found 0") }
  }

  /// Reads the keys and finds the version, before anything that takes long.
  func resolve(for model: ModelID) throws(TrainingError) -> (keys: [SigningKey], version: ModelVersion) {
    (try Publishing.keys(key), try Publishing.version(version, of: model, store: publish))
  }

  /// Publishes a bundle if a store was named.
  ///
  /// - Returns: its path there.
  func publish(_ bytes: [UInt8], model: ModelID, version: ModelVersion) throws(TrainingError) -> String? {
    guard let publish else { return nil }
    return try Publishing.publish(bytes, model: model, version: version, store: publish)
  }
}
