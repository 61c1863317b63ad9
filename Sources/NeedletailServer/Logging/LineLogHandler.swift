internal import FoundationEssentials
internal import Glibc
public import Logging
internal import NeedletailCore

/// Writes every event as one line to standard error: `time level message key=value …`, or one JSON object.
///
/// Each line is one `write`, so that lines of several threads do not mix. Foreign text is escaped: it can neither forge a
/// line nor end one.
public struct LineLogHandler: LogHandler {
  public var logLevel: Logger.Level
  public var metadata: Logger.Metadata = [:]
  public var metadataProvider: Logger.MetadataProvider?
  private let format: ServerConfiguration.LogFormat
  private let write: @Sendable (String) -> Void

  public init(
    format: ServerConfiguration.LogFormat, level: Logger.Level,
    write: @escaping @Sendable (String) -> Void = LineLogHandler.writeToStandardError
  ) {
    self.format = format
    logLevel = level
    self.write = write
  }

  public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  public func log(event: LogEvent) {
    var merged = metadata
    if let provided = metadataProvider?.get() { merged.merge(provided) { $1 } }
    if let own = event.metadata { merged.merge(own) { $1 } }
    if let error = event.error { merged["error"] = "\(error)" }
    let pairs = merged.sorted { $0.key < $1.key }.map { (key: $0.key, value: "\($0.value)") }
    let time = Self.timestamp()
    write(
      format == .json
        ? LogLine.json(time: time, level: event.level.rawValue, message: event.message.description, pairs: pairs)
        : LogLine.text(time: time, level: event.level.rawValue, message: event.message.description, pairs: pairs))
  }

  /// UTC with milliseconds, RFC 3339.
  static func timestamp() -> String {
    Date().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
  }

  /// Writes one line by one `write`.
  public static let writeToStandardError: @Sendable (String) -> Void = { line in
    var text = line
    text.withUTF8 { bytes in
      var written = 0
      while written < bytes.count {
        let count = writeOnce(bytes.baseAddress.map { $0 + written }, bytes.count - written)
        // A log that cannot be written must not stop a server.
        guard count > 0 else { return }
        written += count
      }
    }
  }

  private static func writeOnce(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int {
    guard let start else { return 0 }
    return Glibc.write(STDERR_FILENO, start, count)
  }
}

/// Renders one log event as one line, newline included.
enum LogLine {
  /// `2026-01-02T03:04:05.678Z info listening address=127.0.0.1:6470`
  static func text(time: String, level: String, message: String, pairs: [(key: String, value: String)]) -> String {
    var line = "\(time) \(level) \(oneLine(message))"
    for (key, value) in pairs {
      line += " \(key)=\(value.allSatisfy(isPlain) && !value.isEmpty ? value : value.jsonQuoted)"
    }
    return line + "\n"
  }

  /// `{"time":"…","level":"info","message":"listening","address":"127.0.0.1:6470"}`
  static func json(time: String, level: String, message: String, pairs: [(key: String, value: String)]) -> String {
    var line = "{\"time\":\(time.jsonQuoted),\"level\":\(level.jsonQuoted),\"message\":\(message.jsonQuoted)"
    // A pair named like one of the three keys above would make that key appear twice.
    for (key, value) in pairs {
      let name = ["time", "level", "message"].contains(key) ? key + "_" : key
      line += ",\(name.jsonQuoted):\(value.jsonQuoted)"
    }
    return line + "}\n"
  }

  private static func isPlain(_ character: Character) -> Bool {
    guard let scalar = character.unicodeScalars.first, character.unicodeScalars.count == 1 else { return false }
    return scalar.value > 0x20 && scalar.value < 0x7F && scalar != "\"" && scalar != "=" && scalar != "\\"
  }

  private static func oneLine(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.map { $0.isControlInText ? " " : $0 }))
  }
}
