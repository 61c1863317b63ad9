internal import CNeedletailKernels
public import CNeedletailProto
internal import Glibc
internal import NeedletailCore

/// Number that tells one thing of a moment; `bundle.proto` says what each is. Raw values are those of
/// `needletail.v1.DatePart`.
public enum DatePart: UInt32, Sendable, CaseIterable {
  case elapsed = 0
  case year, month, day, weekday
  case dayOfYear
  case hour, minute, second
  case yearSin, yearCos, weekSin, weekCos, daySin, dayCos

  /// Name in run files: `day_of_year`.
  public var name: String {
    switch self {
    case .elapsed: "elapsed"
    case .year: "year"
    case .month: "month"
    case .day: "day"
    case .weekday: "weekday"
    case .dayOfYear: "day_of_year"
    case .hour: "hour"
    case .minute: "minute"
    case .second: "second"
    case .yearSin: "year_sin"
    case .yearCos: "year_cos"
    case .weekSin: "week_sin"
    case .weekCos: "week_cos"
    case .daySin: "day_sin"
    case .dayCos: "day_cos"
    }
  }

  /// The part of a moment in seconds since 1970-01-01 00:00 UTC, as plans compute it; NaN for NaN.
  public func value(of seconds: Double) -> Double { nt_date_part_of(seconds, nt_date_part(rawValue)) }
}

/// Per fp64 column: none passes it through; parts take it for seconds since 1970 and write one column each.
public struct DateParts: GraphOperation {
  public var parts: [[DatePart]]

  public init(parts: [[DatePart]]) { self.parts = parts }

  public init(_ message: Needletail__V1__DateParts) throws(GraphFault) {
    var parts: [[DatePart]] = []
    var next = 0
    for count in MessageValues.integers(message.count, message.n_count) {
      guard count <= message.n_part - next else {
        throw GraphFault(
          kind: .mismatch, "date parts: expected as many parts as the counts say, found \(message.n_part)")
      }
      var own: [DatePart] = []
      for index in next..<next + count {
        guard let part = DatePart(rawValue: UInt32(message.part[index].rawValue)) else {
          throw GraphFault(
            kind: .unsupported,
            "date parts: expected a part from 0 to \(DatePart.allCases.count - 1), found \(message.part[index].rawValue)"
          )
        }
        own.append(part)
      }
      next += count
      parts.append(own)
    }
    guard next == message.n_part else {
      throw GraphFault(
        kind: .mismatch, "date parts: expected \(next) parts as the counts say, found \(message.n_part)")
    }
    self.init(parts: parts)
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__DateParts>? {
    memory.build(needletail__v1__date_parts__init) {
      $0.n_count = parts.count
      $0.count = memory.array(parts.map { UInt32(clamping: $0.count) })
      let all = parts.joined().map { Needletail__V1__DatePart($0.rawValue) }
      $0.n_part = all.count
      $0.part = memory.array(all)
    }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    var type = try context.columns(of: .float64)
    guard parts.count == type.columns else {
      throw context.fault("expected parts for \(type.columns) columns, found \(parts.count)")
    }
    let columns = parts.reduce(0) { $0 + max(1, $1.count) }
    guard columns <= Limits.columnsMax else {
      throw context.fault("expected at most \(Limits.columnsMax) columns, found \(columns)", .tooMany)
    }
    type.shape = [columns]
    return [type]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let (input, output) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].outputs[0])
    let name = plan.graph.nodes[node].name
    let kernel = nt_dates(
      counts: try plan.storage.copy(parts.map { UInt32($0.count) }, for: name),
      parts: try plan.storage.copy(parts.joined().map(\.rawValue), for: name), in_columns: UInt32(parts.count),
      out_columns: UInt32(plan.graph.values[output].columns))
    plan.add(
      try plan.step(
        node, nt_dates_step, kernel, reading: [input], writing: [output], words: words, kernel: "dates"))
  }

  public var parameterCount: Int { parts.reduce(0) { $0 + $1.count } }
  public func packedBytes(_ context: OperationContext) -> Int {
    (parts.count + parameterCount) * MemoryLayout<UInt32>.stride
  }
  public var words: String { "date parts" }

  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? {
    zip(inputs[0], parts).flatMap { [Int](repeating: $0, count: max(1, $1.count)) }
  }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [
      zip(inputs[0], parts).flatMap { seconds, parts in
        parts.isEmpty ? [seconds] : parts.map { Self.reference($0, of: seconds) }
      }
    ]
  }

  /// The part by the calendar of the C library.
  private static func reference(_ part: DatePart, of moment: Double) -> Double {
    guard !moment.isNaN else { return moment }
    let seconds = min(max(moment, DateText.range.lowerBound), DateText.range.upperBound - 1)
    var whole = time_t(seconds.rounded(.down))
    var calendar = tm()
    gmtime_r(&whole, &calendar)
    let (hour, minute) = (Double(calendar.tm_hour), Double(calendar.tm_min))
    let second = Double(calendar.tm_sec) + seconds - Double(whole)
    let dayFraction = ((hour * 60 + minute) * 60 + second) / 86_400
    let year = Int(calendar.tm_year) + 1900
    let weekday = Double((Int(calendar.tm_wday) + 6) % 7)
    let days = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 366.0 : 365.0
    let ofYear = 2 * Double.pi * (Double(calendar.tm_yday) + dayFraction) / days
    let ofWeek = 2 * Double.pi * (weekday + dayFraction) / 7
    switch part {
    case .elapsed: return seconds
    case .year: return Double(year)
    case .month: return Double(calendar.tm_mon) + 1
    case .day: return Double(calendar.tm_mday)
    case .weekday: return weekday
    case .dayOfYear: return Double(calendar.tm_yday) + 1
    case .hour: return hour
    case .minute: return minute
    case .second: return second
    case .yearSin: return sin(ofYear)
    case .yearCos: return cos(ofYear)
    case .weekSin: return sin(ofWeek)
    case .weekCos: return cos(ofWeek)
    case .daySin: return sin(2 * Double.pi * dayFraction)
    case .dayCos: return cos(2 * Double.pi * dayFraction)
    }
  }
}
