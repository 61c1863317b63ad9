internal import NeedletailCore
internal import NeedletailRedis
internal import NeedletailSystem

/// The Redis server where jobs are, and how servers share them.
struct SharedJobOptions: Sendable, Equatable {
  var location: RedisLocation
  /// File of the password; nil: there is none.
  var passwordFile: String?
  /// Begin of the names of all keys.
  var prefix = "needletail"
  var lease: Duration = .seconds(Limits.jobLeaseSecondsDefault)
  var runsMax = Limits.jobRunsMaxDefault

  init(_ location: RedisLocation) { self.location = location }

  /// Version of what stands in Redis. Servers of another one have keys of their own.
  static let layout = 1

  /// Begin of the names of all keys of this layout.
  var keys: String { "\(prefix):jobs:\(Self.layout):" }

  var leaseMilliseconds: Int { lease.milliseconds }

  /// Reads the password: before each connection, so that it may be changed.
  /// - Throws: a sentence that does not hold it.
  func password() throws(ConfigurationError) -> String? {
    guard let passwordFile else { return nil }
    let place = "jobs.store_password_file \(passwordFile)"
    let text: String?
    do throws(FileReadError) {
      text = try WholeFile.text(passwordFile, bytesMax: Limits.jobPasswordBytesMax)
    } catch {
      switch error {
      case .missing: throw ConfigurationError("\(place): expected a file, found none")
      case .notARegularFile: throw ConfigurationError("\(place): expected a regular file, found something else")
      case .tooLong(let most): throw ConfigurationError("\(place): expected at most \(most) bytes, found more")
      case .system(let error): throw ConfigurationError("\(place): \(error)")
      }
    }
    guard let line = text?.split(separator: "\n", maxSplits: 1).first, !line.isEmpty else {
      throw ConfigurationError("\(place): expected a password in UTF-8, found none")
    }
    return String(line)
  }
}

extension Duration {
  /// Whole milliseconds, at least one.
  var milliseconds: Int { max(1, Int(nanoseconds / 1_000_000)) }
}
