import CNeedletailProto
import NeedletailCore
import NeedletailWire

/// A second opinion on requests: libprotobuf-c with the generated code.
struct ProtobufCOracle {
  /// - Returns: nil if both read the same, or if protobuf-c is no judge of the bytes: it refuses a known
  ///   field with a foreign wire type, which Google's parsers and ours skip, and loses fields where it
  ///   merges a call that stands there twice.
  func difference(of view: RequestView, from bytes: UnsafeRawBufferPointer) -> String? {
    guard Self.delimitedFields(of: bytes) <= 1 else { return nil }
    guard let start = bytes.bindMemory(to: UInt8.self).baseAddress,
      let request = needletail__v1__request__unpack(nil, bytes.count, start)
    else { return nil }
    defer { needletail__v1__request__free_unpacked(request, nil) }
    let expected = request.pointee
    guard expected.id == view.id else { return "id \(view.id), expected \(expected.id)" }
    guard expected.timeout_us == view.timeoutMicroseconds else { return "timeout" }
    switch (view.call, expected.call_case) {
    case (.predict(let predict), NEEDLETAIL__V1__REQUEST__CALL_PREDICT):
      return Self.difference(of: predict, from: expected.predict.pointee)
    case (.describeModel(let describe), NEEDLETAIL__V1__REQUEST__CALL_DESCRIBE_MODEL):
      return Self.isSame(describe.model, expected.describe_model.pointee.model) ? nil : "described model"
    case (.authenticate(let key), NEEDLETAIL__V1__REQUEST__CALL_AUTHENTICATE):
      return Self.isSame(key, expected.authenticate.pointee.api_key) ? nil : "key"
    case (.events(let after, let limit), NEEDLETAIL__V1__REQUEST__CALL_EVENTS):
      return after == expected.events.pointee.after && limit == expected.events.pointee.limit ? nil : "events"
    case (.rollout(let model, let undo), NEEDLETAIL__V1__REQUEST__CALL_ROLLOUT):
      let rollout = expected.rollout.pointee
      let isSame = Self.isSame(model, rollout.model)
      // Libprotobuf-c reads a truth value from a field of any wire type, where proto3 skips a foreign one: its `true` says
      // nothing about ours. Unit tests hold that ours is read.
      let isForced = undo?.isForced == true && rollout.force != 0
      let step = RolloutUndo(version: rollout.from_version, isForced: isForced)
      return isSame && undo == (rollout.action.rawValue == 1 ? step : nil) ? nil : "rollout"
    case (.feedback(let feedback), NEEDLETAIL__V1__REQUEST__CALL_FEEDBACK):
      return Self.difference(of: feedback, from: expected.feedback.pointee)
    case (.health, NEEDLETAIL__V1__REQUEST__CALL_HEALTH), (.metrics, NEEDLETAIL__V1__REQUEST__CALL_METRICS),
      (.listModels, NEEDLETAIL__V1__REQUEST__CALL_LIST_MODELS),
      (.serverInfo, NEEDLETAIL__V1__REQUEST__CALL_SERVER_INFO),
      (.none, NEEDLETAIL__V1__REQUEST__CALL__NOT_SET):
      return nil
    default:
      return "call \(view.call), expected case \(expected.call_case.rawValue)"
    }
  }

  /// Fields with a length on the top level of bytes known to be well-formed.
  private static func delimitedFields(of bytes: UnsafeRawBufferPointer) -> Int {
    var offset = 0
    func varint() -> UInt64 {
      var value: UInt64 = 0
      var shift: UInt64 = 0
      while offset < bytes.count {
        let byte = bytes[offset]
        offset += 1
        value |= UInt64(byte & 0x7f) << shift
        shift += 7
        if byte < 0x80 { break }
      }
      return value
    }
    var fields = 0
    while offset < bytes.count {
      switch varint() & 7 {
      case 0: _ = varint()
      case 1: offset += 8
      case 2:
        fields += 1
        offset += Int(varint())
      default: offset += 4
      }
    }
    return fields
  }

  private static func difference(
    of predict: PredictView, from expected: Needletail__V1__PredictRequest
  ) -> String? {
    guard isSame(predict.model, expected.model) else { return "model" }
    guard predict.tensors.count == expected.n_inputs, predict.outputs.count == expected.n_outputs else {
      return "\(predict.tensors.count) tensors, expected \(expected.n_inputs)"
    }
    switch (predict.selector, expected.selector_case) {
    case (.serving, NEEDLETAIL__V1__PREDICT_REQUEST__SELECTOR__NOT_SET): break
    case (.version(let version), NEEDLETAIL__V1__PREDICT_REQUEST__SELECTOR_VERSION) where version == expected.version:
      break
    case (.label(let label), NEEDLETAIL__V1__PREDICT_REQUEST__SELECTOR_LABEL) where isSame(label, expected.label):
      break
    default: return "selector"
    }
    guard isSame(predict.key, expected.key) else { return "name of the call" }
    guard (predict.priority == .interactive) == (expected.priority.rawValue == 0) else { return "priority" }
    for (index, tensor) in predict.tensors.enumerated() {
      guard let other = expected.inputs[index]?.pointee else { return "tensor \(index)" }
      guard isSame(tensor.name, other.name), UInt32(tensor.type?.rawValue ?? 0) == other.knownType,
        tensor.shape.elementsEqual(UnsafeBufferPointer(start: other.shape, count: other.n_shape)),
        tensor.data.elementsEqual(UnsafeBufferPointer(start: other.data.data, count: other.data.len)),
        tensor.strings.count == other.n_strings
      else { return "tensor \(index)" }
      for (position, string) in tensor.strings.enumerated() {
        let element = other.strings[position]
        guard string.elementsEqual(UnsafeBufferPointer(start: element.data, count: element.len)) else {
          return "string \(position) of tensor \(index)"
        }
      }
    }
    return nil
  }

  /// Outcomes are read off the loops, and may be refused there.
  private static func difference(
    of feedback: FeedbackView, from expected: Needletail__V1__FeedbackRequest
  ) -> String? {
    guard isSame(feedback.model, expected.model) else { return "model of feedback" }
    guard case .message(let message) = feedback.body, let bytes = try? message.bytes(),
      let outcomes = try? bytes.withUnsafeBytes({ try ReportedOutcome.decode($0) })
    else { return nil }
    guard outcomes.count == expected.n_outcomes else { return "\(outcomes.count) outcomes" }
    for (index, outcome) in outcomes.enumerated() {
      guard let other = expected.outcomes[index]?.pointee else { return "outcome \(index)" }
      let isSameTruth =
        switch outcome.truth {
        case .label(let label): other.truth_case == NEEDLETAIL__V1__OUTCOME__TRUTH_LABEL && isSame(label, other.label)
        case .value(let value):
          other.truth_case == NEEDLETAIL__V1__OUTCOME__TRUTH_VALUE && value.bitPattern == other.value.bitPattern
        }
      guard isSame(outcome.key, other.key), outcome.row == other.row, isSameTruth else { return "outcome \(index)" }
    }
    return nil
  }

  /// Both have replaced what is no UTF-8.
  private static func isSame(_ text: String, _ other: UnsafePointer<CChar>?) -> Bool {
    guard let other else { return text.isEmpty }
    return text.utf8.prefix { $0 != 0 }.elementsEqual(String(cString: other).utf8)
  }

  /// protobuf-c's strings end at the first NUL.
  private static func isSame(_ bytes: UnsafeRawBufferPointer, _ text: UnsafePointer<CChar>?) -> Bool {
    guard let text else { return bytes.isEmpty }
    return bytes.prefix { $0 != 0 }.elementsEqual(String(cString: text).utf8)
      // Invalid UTF-8 does not survive the way through String.
      || !String(decoding: bytes, as: UTF8.self).utf8.elementsEqual(bytes)
  }
}

extension Needletail__V1__Tensor {
  /// 0 for a type that the schema does not have.
  fileprivate var knownType: UInt32 {
    let value = Int64(type.rawValue)
    return (1...9).contains(value) ? UInt32(value) : 0
  }
}
