internal import FuzzDriver
internal import NeedletailCore
internal import NeedletailProtobuf
internal import NeedletailWire

/// Decodes the bytes as a request, twice: by our decoder and by libprotobuf-c.
///
/// These must hold: no trap and no read beyond the frame; every view lies inside the frame; the arena keeps its budget;
/// where libprotobuf-c reads the bytes too, both see the same tensors.
@main
enum FuzzRequest {
  static func main() {
    fuzz { data, count in
      guard let data, count > 0 else { return 0 }
      FuzzRequest.check(UnsafeRawBufferPointer(start: data, count: count))
      return 0
    }
  }

  private static func check(_ frame: UnsafeRawBufferPointer) {
    let arena = MessageArena()
    let id = RequestDecoder.peekID(frame)
    do {
      let view = try RequestDecoder.decode(frame, arena: arena)
      precondition(view.id == id, "peekID and decode disagree")
      if case .predict(let predict) = view.call { touch(predict, in: frame) }
      if let difference = ProtobufCOracle().difference(of: view, from: frame) { fatalError(difference) }
    } catch {
      precondition(error.code == .invalidArgument && !error.message.isEmpty)
    }
    precondition(arena.bytesSpent <= MessageArena.budgetBytes(frameBytes: frame.count))
  }

  /// Reads every byte that the view points to.
  private static func touch(_ predict: PredictView, in frame: UnsafeRawBufferPointer) {
    func check(_ bytes: UnsafeRawBufferPointer) {
      guard let start = bytes.baseAddress, let first = frame.baseAddress, bytes.count > 0 else { return }
      precondition(start >= first && start + bytes.count <= first + frame.count, "a view left its frame")
    }
    check(predict.model)
    check(predict.routingKey)
    predict.outputs.forEach(check)
    precondition(predict.tensors.count <= Limits.inputTensorsMax && predict.outputs.count <= Limits.outputNamesMax)
    for tensor in predict.tensors {
      check(tensor.name)
      check(tensor.data)
      tensor.strings.forEach(check)
      precondition(tensor.shape.count <= Limits.tensorRankMax)
    }
  }
}
