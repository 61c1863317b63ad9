internal import NIOCore
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailProtobuf
internal import NeedletailServing
internal import NeedletailSystem
internal import NeedletailWire
internal import Synchronization

/// The thread that runs jobs, one after the other, each by one version from its first row to its last.
///
/// Its priority is idle (`SCHED_IDLE`): any other thread of the machine takes the processor from it at once, in the middle
/// of a run, so that a call waits for no job. On a machine without idle time jobs hardly go on, and fail when their time is
/// over. The priority stays as it is however long a job takes, where that of a thread that loads a version rises: callers
/// may wait a little for a new version, and not for a batch.
struct JobThread: Sendable {
  typealias Turn = Jobs.Turn

  private let service: JobService
  private let registry: ModelRegistry

  init(_ service: JobService, _ registry: ModelRegistry) {
    self.service = service
    self.registry = registry
  }

  func run() {
    while !service.isStopped {
      var next = service.next()
      guard let turn = next.turn.take() else {
        service.wakeup.wait(until: next.due)
        continue
      }
      service.counters.came(to: .running).add()
      let result = Result { () throws(ServingError) in try run(turn) }
      service.end(turn, with: result)
      Self.letGo(consume turn)
    }
  }

  /// Drops what event loops have allocated on another thread: to free it, the C library may lock the heap of a loop, which
  /// would wait for as long as this thread does not run.
  private static func letGo(_ turn: consuming Turn) {
    let turn = turn
    Task { withExtendedLifetime(turn) {} }
  }

  /// Runs one job.
  private func run(_ turn: Turn) throws(ServingError) -> JobResult {
    var request = InferRequest()
    let arena = MessageArena()
    let upload = turn.request
    try request.read(upload.bytes, jsonBytes: upload.head.jsonBytes, arena: arena)
    var due = turn.due
    if request.head.timeoutMicroseconds > 0 {
      due = min(due, turn.submitted.advanced(byMicroseconds: UInt64(request.head.timeoutMicroseconds)))
    }
    try check(turn, due)
    let model = try choose(upload.head, request.head)
    turn.progress.version.store(model.version.number, ordering: .relaxed)
    let schema = AnswerSchema(model)
    let (tensors, outputs) = try request.tensors(arena: arena)
    let selection = try schema.binary.selection(of: outputs)
    let size = try LargeRun.size(of: tensors, for: model, max: service.options.rowsMax)
    turn.progress.rows.store(size.rows, ordering: .relaxed)
    // Before memory is taken for the answer: a few bytes of request a row may ask for thousands of classes a row.
    let reservation = try reserve(turn, due, bytes: bound(schema, request, selection, size))
    let run = try LargeRun(model, tensors, size: size, selection: selection)
    while !run.isDone {
      try check(turn, due)
      let before = run.rowsDone
      try run.step()
      turn.progress.rowsDone.store(run.rowsDone, ordering: .relaxed)
      service.counters.rows.add(UInt64(run.rowsDone - before))
    }
    var body = ByteBuffer()
    let answer = PredictAnswer(
      id: 0, schema: schema, rows: run.rows, values: run.values, selection: selection,
      timing: AnswerTiming(queueMicroseconds: 0, computeMicroseconds: 0, batchRows: 0))
    let jsonBytes = schema.openInference.append(answer, request, to: &body)
    reservation.shrink(to: body.readableBytes)
    return JobResult(body, jsonBytes: jsonBytes, reservation)
  }

  private func check(_ turn: Turn, _ due: Instant) throws(ServingError) {
    try service.waitForLease(of: turn, due: due)
  }

  /// The version that answers all rows of the job.
  private func choose(_ head: JobHead, _ told: InferRequest.Head) throws(ServingError) -> LiveModel {
    var selector = head.model.plainSelector
    if let label = told.label {
      guard case .serving = selector else {
        throw .invalidArgument("label: expected a version or a label, found both")
      }
      selector = .label(label)
    }
    let table = registry.current
    var name = head.model.model
    let found = name.withUTF8 { bytes in
      Result { () throws(ServingError) in
        try table.borrowedModel(
          named: UnsafeRawBufferPointer(bytes), selector: selector, routingKey: told.routingKey,
          draw: UInt64.random(in: 0 ... .max)
        ).takeUnretainedValue()
      }
    }
    do throws(ServingError) {
      return try found.get()
    } catch {
      // The models that this caller may know of are not known here.
      throw error.withoutSuggestion
    }
  }

  /// Upper bound of the bytes of the result.
  private func bound(
    _ schema: AnswerSchema, _ request: InferRequest, _ selection: UInt64, _ size: LargeRun.Size
  ) throws(ServingError) -> Int {
    let bytes = schema.openInference.bytesMax(
      request, selection: selection, rows: size.rows, textBytes: size.textBytes)
    let most = service.options.resultBytesMax
    guard bytes <= most else {
      throw .invalidArgument(
        "rows: expected a result of at most \(most) bytes, found up to \(bytes) for \(size.rows) rows; ask for fewer rows or "
          + "outputs, or for bytes",
        .init(limit: .init("job_result_bytes_max", maximum: UInt64(most), found: UInt64(clamping: bytes))))
    }
    return bytes
  }

  /// Waits for room for the result.
  private func reserve(_ turn: Turn, _ due: Instant, bytes: Int) throws(ServingError) -> JobReservation {
    while true {
      try check(turn, due)
      let (reservation, next) = try service.store.reserve(turn, bytes: bytes)
      if let reservation { return reservation }
      service.wakeup.wait(until: next.map { min($0, due) } ?? due)
    }
  }
}
