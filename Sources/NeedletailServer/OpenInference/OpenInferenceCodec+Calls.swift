internal import NIOCore
internal import NeedletailCore
internal import NeedletailProtobuf
internal import NeedletailServing
internal import NeedletailWire

/// From a whole request to the call that it makes.
extension OpenInferenceCodec {
  func take(
    _ head: HTTPHead, _ body: UnsafeRawBufferPointer, _ arena: MessageArena, _ output: inout ByteBuffer
  ) -> CodecEvent? {
    withUnsafeTemporaryAllocation(byteCount: max(1, head.path.count), alignment: 1) { memory in
      take(head, memory.baseAddress.flatMap { OpenInferenceRoute.match(head.path, memory: $0) }, body, arena, &output)
    }
  }

  private func take(
    _ head: HTTPHead, _ matched: OpenInferenceRoute.Match?, _ body: UnsafeRawBufferPointer, _ arena: MessageArena,
    _ output: inout ByteBuffer
  ) -> CodecEvent? {
    guard let matched else {
      return malformed(
        .notFound(
          "path: expected one of the Open Inference Protocol, such as /v2/models/NAME/infer, found "
            + String(decoding: head.path.prefix(128), as: UTF8.self).quotedForMessage))
    }
    let isRightMethod =
      head.method == matched.method || (matched.method == .get && head.method == .head)
      || (matched.allowsDelete && head.method == .delete)
    guard isRightMethod else {
      errorStatus = 405
      allowed = matched.allowsDelete ? .delete : matched.method
      return malformed(.unimplemented("method: expected \(matched.method == .get ? "GET" : "POST"), found another"))
    }
    if head.isEncoded {
      errorStatus = 415
      return malformed(.invalidArgument("Content-Encoding: expected identity, found a compressed body"))
    }
    route = matched.route
    switch matched.route {
    case .live:
      write(JSONLiteral.live, to: &output)
      return nil
    case .server:
      write(OpenInferenceReports.server, to: &output)
      return nil
    case .job(let question):
      guard let id = JobID(matched.model) else {
        return malformed(
          .notFound(
            "job: expected an id of \(JobID.digits) hexadecimal digits, found something else", .init(field: "job"))
        )
      }
      isAnswering = true
      return .job(.ask(head.method == .delete ? .cancel : question, id, callID: nextID()))
    case .submit:
      // Its head was asked for before: see `beginJob`.
      return malformed(.notFound("path: expected it without escapes, found some"))
    default: break
    }
    isAnswering = true
    do throws(ServingError) {
      return .call(try call(matched, head, body, arena))
    } catch {
      return .malformed(id: nextID(), error)
    }
  }

  private enum JSONLiteral {
    static let live = Array("{\"live\":true}".utf8)
  }

  private func call(
    _ matched: OpenInferenceRoute.Match, _ head: HTTPHead, _ body: UnsafeRawBufferPointer, _ arena: MessageArena
  ) throws(ServingError) -> RequestView {
    if case .infer = matched.route {
      try request.read(body, jsonBytes: head.jsonBytes, arena: arena)
    } else {
      arena.reset(budgetBytes: MessageArena.budgetBytes(frameBytes: matched.model.count))
    }
    guard let names = arena.allocate(bytes: matched.model.count) else {
      throw .invalidArgument("path: expected a name that fits beside the body, found \(matched.model.count) bytes")
    }
    names.copyMemory(from: matched.model.baseAddress ?? UnsafeRawPointer(names), byteCount: matched.model.count)
    let model = UnsafeRawBufferPointer(start: names, count: matched.model.count)
    var selector = ModelSelector.serving
    if let number = try Self.version(matched) { selector = .version(number) }
    switch matched.route {
    case .infer:
      let told = request.head
      if let label = told.label {
        guard matched.version == nil else { throw .invalidArgument("label: expected a version or a label, found both") }
        selector = .label(label)
      }
      var predict = PredictView(model: model, selector: selector, routingKey: told.routingKey, rows: told.rows)
      predict.priority = told.priority
      predict.key = told.key
      predict.inputBytes = body.count
      return RequestView(
        id: nextID(), timeoutMicroseconds: told.timeoutMicroseconds, traceparent: head.traceparent,
        call: .predict(predict))
    case .ready: return RequestView(id: nextID(), timeoutMicroseconds: 0, call: .health)
    case .serverInfo: return RequestView(id: nextID(), timeoutMicroseconds: 0, call: .serverInfo)
    case .statistics, .index: return RequestView(id: nextID(), timeoutMicroseconds: 0, call: .listModels)
    case .unload:
      throw .unimplemented(
        "unload: expected no such call, for models come and go with the store: retire a model with needletail "
          + "rollout retire, or remove its files")
    case .model, .load:
      return RequestView(
        id: nextID(), timeoutMicroseconds: 0, call: .describeModel(DescribeView(model: model, selector: selector)))
    case .feedback:
      return RequestView(
        id: nextID(), timeoutMicroseconds: 0, call: .feedback(FeedbackView(model: model, body: .json(body))))
    case .live, .server, .submit, .job: preconditionFailure("these are taken before")
    }
  }

  /// The version that a path names; nil: it names none.
  static func version(_ matched: OpenInferenceRoute.Match) throws(ServingError) -> UInt64? {
    guard let version = matched.version else { return nil }
    let text = String(decoding: version.prefix(24), as: UTF8.self)
    guard let number = UInt64(text), number > 0 else {
      throw .notFound("version: expected a number from 1, found \(text.quotedForMessage)")
    }
    return number
  }
}
