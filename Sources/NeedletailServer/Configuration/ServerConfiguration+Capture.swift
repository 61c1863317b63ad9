public import NeedletailCapture
internal import NeedletailMetrics
internal import NeedletailServing

/// Paths and bounds of captured calls.
public struct CaptureOptions: Sendable, Equatable {
  /// File of rules.
  public var rules: String
  public var directory: String
  /// File of the key that values are hashed with.
  public var key: String?
  public var bounds = CaptureBounds()

  public init(rules: String, directory: String) {
    self.rules = rules
    self.directory = directory
  }

  /// Reads rules and key.
  /// - Throws: a sentence about the file that cannot be used.
  func read() throws(ConfigurationError) -> (rules: CaptureRules, key: [UInt8]) {
    let rules: CaptureRules
    do throws(CaptureError) {
      rules = try CaptureRules(path: self.rules)
    } catch {
      throw ConfigurationError("--capture-rules: \(error.message)")
    }
    guard let key else {
      guard rules.needsKey else { return (rules, []) }
      throw ConfigurationError("capture.key_file: expected a file with a key, for the rules hash values; found none")
    }
    do throws(CaptureError) {
      return (rules, try CaptureKey.read(path: key))
    } catch {
      throw ConfigurationError("capture.key_file: \(error.message)")
    }
  }

  /// Makes what captures.
  /// - Parameter report: see ``CaptureService/init(_:rules:key:metrics:report:)``.
  func service(
    _ metrics: MetricsRegistry, report: @escaping @Sendable (String) -> Void
  ) throws(ConfigurationError) -> CaptureService {
    let (rules, key) = try read()
    do throws(CaptureError) {
      let directory = try CaptureDirectory(creating: directory, bounds)
      return CaptureService(directory, rules: rules, key: key, metrics: metrics, report: report)
    } catch {
      throw ConfigurationError("--capture-directory: \(error.message)")
    }
  }
}

extension ServerConfiguration {
  static func capture(_ values: SettingValues) throws(ConfigurationError) -> CaptureOptions? {
    let directory = try values.path(.captureDirectory)
    let key = try values.path(.captureKey)
    guard let rules = try values.path(.captureRules) else {
      for (name, value) in [("--capture-directory", directory), ("capture.key_file", key)] where value != nil {
        throw ConfigurationError("\(name): expected --capture-rules beside it, found none")
      }
      return nil
    }
    let state = try values.path(.stateDirectory)
    guard let place = directory ?? state.map({ $0 + "/capture" }) else {
      throw ConfigurationError(
        "--capture-rules: expected --capture-directory or --state-directory beside it, found neither")
    }
    var options = CaptureOptions(rules: rules, directory: place)
    options.key = key
    options.bounds.bytesMax = try values.integer(.captureBytes)
    options.bounds.segmentBytesMax = try values.integer(.captureSegmentBytes)
    options.bounds.secondsMax = try values.integer(.captureSeconds)
    guard options.bounds.segmentBytesMax <= options.bounds.bytesMax / 2 else {
      throw ConfigurationError(
        "capture.segment_bytes_max: expected at most half of capture.bytes_max (\(options.bounds.bytesMax)), found "
          + "\(options.bounds.segmentBytesMax)")
    }
    return options
  }
}
