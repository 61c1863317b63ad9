internal import FoundationEssentials
public import Logging
internal import NeedletailCore

/// Makes every event one line: `time level message key=value …`, or one JSON object. Foreign text is escaped: it can
/// neither forge a line nor end one.
public struct LineLogHandler: LogHandler {
  public var logLevel: Logger.Level
  public var metadata: Logger.Metadata = [:]
  public var metadataProvider: Logger.MetadataProvider?
  private let format: ServerConfiguration.LogFormat
  private let write: @Sendable (String) -> Void

  /// - Parameter write: takes each line, newline included.
  public init(
    format: ServerConfiguration.LogFormat, level: Logger.Level, write: @escaping @Sendable (String) -> Void
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
    let pairs = merged.sorted { $0.key < $1.key }.map { (key: $0.key, value: LogValue($0.value)) }
    write(
      LogLine.render(
        format, time: Self.timestamp(), level: event.level.rawValue, message: event.message.description, pairs: pairs))
  }

  /// UTC with milliseconds, RFC 3339.
  static func timestamp() -> String {
    Date().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
  }
}

/// The value of one pair of a log line.
struct LogValue: Equatable, ExpressibleByStringLiteral {
  let text: String
  /// Whether JSON shows it without quotes.
  let isNumber: Bool

  init(stringLiteral text: String) { self.init(text: text) }

  init(text: String, isNumber: Bool = false) {
    self.text = text
    self.isNumber = isNumber
  }

  /// Numbers stay numbers where the event gave them as such; a text that looks like one, a model named `7`, does not
  /// become one.
  init(_ value: Logger.Metadata.Value) {
    guard case .stringConvertible(let number) = value else {
      self.init(text: value.description)
      return
    }
    let isNumber: Bool =
      switch number {
      case is any BinaryInteger: true
      // JSON has no word for the others.
      case let double as Double: double.isFinite
      default: false
      }
    self.init(text: number.description, isNumber: isNumber)
  }
}

/// Renders one log event as one line, newline included.
enum LogLine {
  static func render(
    _ format: ServerConfiguration.LogFormat, time: String, level: String, message: String,
    pairs: [(key: String, value: LogValue)]
  ) -> String {
    switch format {
    case .text: text(time: time, level: level, message: message, pairs: pairs)
    case .json: json(time: time, level: level, message: message, pairs: pairs)
    }
  }

  /// `2026-01-02T03:04:05.678Z info listening address=127.0.0.1:6470`
  static func text(time: String, level: String, message: String, pairs: [(key: String, value: LogValue)]) -> String {
    var line = "\(time) \(level) \(oneLine(message))"
    for (key, value) in pairs {
      let text = value.text
      line += " \(key)=\(text.allSatisfy(isPlain) && !text.isEmpty ? text : text.jsonQuoted)"
    }
    return line + "\n"
  }

  /// `{"time":"…","level":"info","message":"listening","address":"127.0.0.1:6470","threads":2}`
  static func json(time: String, level: String, message: String, pairs: [(key: String, value: LogValue)]) -> String {
    var line = "{\"time\":\(time.jsonQuoted),\"level\":\(level.jsonQuoted),\"message\":\(message.jsonQuoted)"
    // A pair named like one of the three keys above would make that key appear twice.
    for (key, value) in pairs {
      let name = ["time", "level", "message"].contains(key) ? key + "_" : key
      line += ",\(name.jsonQuoted):\(value.isNumber ? value.text : value.text.jsonQuoted)"
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
