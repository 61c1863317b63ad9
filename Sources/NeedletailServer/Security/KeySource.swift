internal import NeedletailModels
internal import NeedletailSecurity
internal import NeedletailYAML
internal import Synchronization

/// The key file of a server, and the ring of keys that was last read from it well.
final class KeySource: Sendable {
  private struct State {
    var ring: KeyRing
    /// What the file was when it was last read, whether well or not.
    var seen: FileFingerprint.Kind
  }

  let path: String
  private let state: Mutex<State>

  /// - Throws: what is wrong with the file: a server does not start without knowing its keys.
  init(path: String) throws(ConfigurationError) {
    self.path = path
    // Taken before reading: a change in between is then seen as one.
    let seen = FileFingerprint.of(path: path)
    do throws(YAMLError) {
      state = Mutex(State(ring: KeyRing(try KeyFile.read(path: path)), seen: seen))
    } catch {
      throw ConfigurationError("--api-keys \(error)")
    }
  }

  var ring: KeyRing { state.withLock { $0.ring } }

  /// Reads the file if it has changed. A file that is wrong changes nothing.
  /// - Returns: nil if nothing has changed.
  func reload() -> Result<KeyRing, YAMLError>? {
    let now = FileFingerprint.of(path: path)
    let previous = state.withLock { state -> KeyRing? in
      guard state.seen != now else { return nil }
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
