import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailModels
import NeedletailObjectStore
import NeedletailYAML

/// A store whose rollout files the command line writes: a directory, or a bucket.
struct RolloutStore {
  private enum Kind {
    case directory(DirectoryStore)
    case bucket(BundleBucket)
  }

  private let kind: Kind

  /// - Parameter store: a directory, or `s3://BUCKET/PREFIX`.
  init(_ store: String) throws {
    do throws(BundleError) {
      if ObjectStoreLocation.isLocation(store) {
        kind = .bucket(try BundleBucket(opening: store, environment: ProcessInfo.processInfo.environment))
      } else {
        kind = .directory(try DirectoryStore(store))
      }
    } catch {
      throw Failure(error.message)
    }
  }

  /// A model's rollout file as it lies in the store now; nil if there is none.
  func rollout(of model: ModelID) throws -> RolloutFinding? {
    switch kind {
    case .directory(let directory): return directory.rollout(of: model)
    case .bucket(let bucket):
      do {
        return try bucket.rollout(of: model).map { .file(try RolloutFile(parsing: $0)) }
      } catch let error as YAMLError {
        return .invalid(error.description)
      } catch let error as BundleError {
        throw Failure(error.message)
      }
    }
  }

  /// Checks a rollout file, writes it and shows it.
  ///
  /// - Parameters:
  ///   - command: the command that writes it, for people who read the file.
  ///   - creatingDirectory: whether a model of which a directory holds nothing gets a folder.
  func write(_ command: String, _ lines: String, of model: ModelID, creatingDirectory: Bool = false) throws {
    // The time makes it a new file even if it says what the last one said, so that it ends a quarantine.
    let text = "# needletail \(command), \(UnixTime.text(milliseconds: UnixTime.nowMilliseconds()))\n" + lines
    do {
      let file = try RolloutFile(parsing: text)
      let path =
        switch kind {
        case .directory(let directory):
          try directory.writeRollout(file.text, of: model, creatingDirectory: creatingDirectory)
        case .bucket(let bucket): try bucket.writeRollout(file.text, of: model)
        }
      print("\(path):\n" + file.policy.yaml, terminator: "")
    } catch let error as YAMLError {
      throw Failure(error.description)
    } catch let error as BundleError {
      throw Failure(error.message)
    }
  }
}
