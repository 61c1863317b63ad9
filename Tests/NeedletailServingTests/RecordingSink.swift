import NeedletailCore
import NeedletailEngine
import NeedletailMetrics
import NeedletailModels
import NeedletailServing

/// Keeps what a batcher hands out, and tells it a time that the test sets.
final class RecordingSink: AnswerSink {
  struct Answer: Equatable {
    var version: UInt64
    /// By output; empty where it was not selected.
    var values: [[Float]]
    var timing: AnswerTiming
  }

  final class Encoder {
    let model: LiveModel
    init(_ model: LiveModel) { self.model = model }
  }

  var time = Instant(nanoseconds: 1_000_000_000)
  private(set) var answers: [UInt64: Answer] = [:]
  private(set) var errors: [UInt64: ServingError] = [:]
  /// Ids in the order in which they were told.
  private(set) var order: [UInt64] = []
  private(set) var encodersMade = 0
  /// How many calls had been told when the batcher asked to send what was ready.
  private(set) var toldAtSends: [Int] = []

  func now() -> Instant { time }

  func makeEncoder(for model: LiveModel) -> Encoder {
    encodersMade += 1
    return Encoder(model)
  }

  func selection(
    of names: UnsafeBufferPointer<UnsafeRawBufferPointer>, _ encoder: Encoder
  ) throws(ServingError) -> UInt64 {
    let outputs = encoder.model.compiled.plan.outputs
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
    _ address: ReplyAddress, _ encoder: Encoder, rows: Int, values: UnsafeBufferPointer<UnsafePointer<Float>>,
    selection: UInt64, timing: AnswerTiming
  ) {
    let outputs = encoder.model.compiled.plan.outputs
    answers[address.id] = Answer(
      version: encoder.model.version.number,
      values: outputs.indices.map { index in
        guard selection >> UInt64(index) & 1 == 1 else { return [] }
        let width = outputs[index].kind == .number ? outputs[index].columns : 1
        return Array(UnsafeBufferPointer(start: values[index], count: rows * width))
      }, timing: timing)
    order.append(address.id)
  }

  func refuse(_ address: ReplyAddress, _ error: ServingError) {
    errors[address.id] = error
    order.append(address.id)
  }

  func sendReady() { toldAtSends.append(order.count) }
}
