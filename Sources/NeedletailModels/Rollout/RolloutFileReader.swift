internal import NeedletailCore
internal import NeedletailYAML

/// Reads a `rollout.yaml` with every scan: it is small, and a file system's timestamps may be coarse.
enum RolloutFileReader {
  /// - Returns: nil if it has gone since it was listed.
  static func read(_ path: String) -> RolloutFinding? {
    let bytes: [UInt8]
    do throws(SmallFile.Failure) {
      bytes = try SmallFile.read(path, bytesMax: Limits.rolloutFileBytesMax, followingLinks: true)
    } catch {
      switch error {
      case .missing: return nil
      case .notAFile: return .invalid("expected a file, found something else")
      case .tooLong: return .invalid("expected at most \(Limits.rolloutFileBytesMax) bytes, found more")
      case .system(let code): return .invalid(SystemFailure(code).message)
      }
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      return .invalid("expected UTF-8 text, found other bytes")
    }
    do throws(YAMLError) {
      return .file(try RolloutFile(parsing: text))
    } catch {
      return .invalid(error.description)
    }
  }
}
