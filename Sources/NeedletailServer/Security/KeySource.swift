internal import NeedletailModels
internal import NeedletailSecurity
internal import NeedletailSystem
internal import NeedletailYAML
internal import Synchronization

/// The key file of a server, and the ring of keys from the last reading that succeeded.
final class KeySource: Sendable {
  private struct State {
    var ring: KeyRing
    /// Fingerprint of the file at the last reading, whether it succeeded or not.
    var seen: FileFingerprint.Kind
  }

  let path: String
  private let state: Mutex<State>

  /// - Throws: the fault of the file, because a server must not start without its keys.
  init(path: String) throws(ConfigurationError) {
    self.path = path
    // Taken before the reading, so that a change in between is seen.
    let seen = FileFingerprint.of(path: path)
    do throws(YAMLError) {
      state = Mutex(State(ring: KeyRing(try KeyFile.read(path: path)), seen: seen))
    } catch {
      throw ConfigurationError("--api-keys \(error)")
    }
  }

  var ring: KeyRing { state.withLock { $0.ring } }

  /// Reads the file if it has changed. A faulty file changes nothing.
  /// - Parameter unchangedToo: whether the file is read in any case.
  /// - Returns: nil if the file was not read.
  func reload(unchangedToo: Bool = false) -> Result<KeyRing, YAMLError>? {
    let now = FileFingerprint.of(path: path)
    let previous = state.withLock { state -> KeyRing? in
      guard unchangedToo || state.seen != now else { return nil }
      state.seen = now
      return state.ring
    }
    guard let previous else { return nil }
    do throws(YAMLError) {
      let ring = KeyRing(try KeyFile.read(path: path), continuing: previous)
      state.withLock { $0.ring = ring }
      return .success(ring)
    } catch {
      return .failure(error)
    }
  }
}
