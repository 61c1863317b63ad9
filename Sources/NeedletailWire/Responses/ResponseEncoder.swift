public import NIOCore
public import NeedletailCore

/// Appends framed responses, other than predictions, to a connection's output buffer.
public enum ResponseEncoder {
  public static func appendError(id: UInt64, _ error: ServingError, to buffer: inout ByteBuffer) { fatalError() }
  public static func appendHealth(id: UInt64, _ report: HealthReport, to buffer: inout ByteBuffer) { fatalError() }
  /// - Parameter text: Prometheus text format 0.0.4.
  public static func appendMetrics(id: UInt64, _ text: String, to buffer: inout ByteBuffer) { fatalError() }
  public static func appendModels(id: UInt64, _ report: ModelListReport, to buffer: inout ByteBuffer) { fatalError() }
  public static func appendDescription(
    id: UInt64, _ description: ModelDescription, to buffer: inout ByteBuffer
  ) { fatalError() }
  public static func appendAuthenticated(id: UInt64, principal: String, to buffer: inout ByteBuffer) { fatalError() }
  /// Calls with an id above `lastID` were not executed and are safe to retry elsewhere.
  public static func appendGoAway(lastID: UInt64, to buffer: inout ByteBuffer) { fatalError() }
}
