import NeedletailCore
import NeedletailEngine
import NeedletailMetrics
import NeedletailModels
import NeedletailServing

/// Keeps the answers of a batcher, and gives it a time that the test sets.
final class RecordingWriter: ResponseWriter {
  struct Answer: Equatable {
    var version: UInt64
    /// Values by output; empty where the output was not selected.
    var values: [[Float]]
    var timing: AnswerTiming
  }

  final class Schema {
    let model: LiveModel
    init(_ model: LiveModel) { self.model = model }
  }

  var time = Instant(nanoseconds: 1_000_000_000)
  private(set) var answers: [UInt64: Answer] = [:]
  private(set) var errors: [UInt64: ServingError] = [:]
  /// Ids in the order of their answers and errors.
  private(set) var order: [UInt64] = []
  private(set) var schemasMade = 0
  /// Number of calls answered at each flush that the batcher asked for.
  private(set) var answeredAtFlushes: [Int] = []

  /// Time that passes between two readings of the clock.
  var stepNanoseconds: UInt64 = 0

  func now() -> Instant {
    time.nanoseconds += stepNanoseconds
    return time
  }

  func makeSchema(for model: LiveModel) -> Schema {
    schemasMade += 1
    return Schema(model)
  }

  func selection(
    of names: UnsafeBufferPointer<UnsafeRawBufferPointer>, _ schema: Schema
  ) throws(ServingError) -> UInt64 {
    let outputs = schema.model.compiled.plan.outputs
    guard !names.isEmpty else { return (1 << UInt64(outputs.count)) - 1 }
    var selection: UInt64 = 0
    for name in names {
      let text = String(decoding: name, as: UTF8.self)
      guard let index = outputs.firstIndex(where: { $0.name == text }) else {
        throw .notFound("output \(text.quotedForMessage): not found")
      }
      selection |= 1 << UInt64(index)
    }
    return selection
  }

  func answer(
    _ address: ReplyAddress, _ schema: Schema, rows: Int, values: UnsafeBufferPointer<UnsafePointer<Float>>,
    selection: UInt64, timing: AnswerTiming, memory: CallMemory?
  ) {
    let outputs = schema.model.compiled.plan.outputs
    answers[address.id] = Answer(
      version: schema.model.version.number,
      values: outputs.indices.map { index in
        guard selection >> UInt64(index) & 1 == 1 else { return [] }
        let width = outputs[index].kind == .number ? outputs[index].columns : 1
        return Array(UnsafeBufferPointer(start: values[index], count: rows * width))
      }, timing: timing)
    order.append(address.id)
  }

  func reject(_ address: ReplyAddress, _ error: ServingError) {
    errors[address.id] = error
    order.append(address.id)
  }

  func flush() { answeredAtFlushes.append(order.count) }
}
