internal import Logging
internal import NIOCore
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailSecurity
internal import NeedletailServing
internal import NeedletailWire

/// All state of one event loop: its connections, its batcher, its scratch.
///
/// `@unchecked Sendable`: everything mutable is touched on `eventLoop` only; other threads hand over
/// work with `execute`.
final class ServingLoop: AnswerSink, @unchecked Sendable {
  private struct Slot {
    var generation: UInt32 = 0
    var handler: ConnectionHandler?
  }

  let eventLoop: any EventLoop
  /// Of the metrics, and of the registry's readers.
  let shard: Int
  let bounds: ConnectionStateMachine.Bounds
  let outputBytesMax: Int
  let counters: ConnectionCounters
  let accessCounters: AccessCounters
  let tlsCounters: TLSCounters
  /// Who may call; nil where everybody may.
  private(set) var keys: KeyRing?
  /// Of `keys`; 0 without.
  private(set) var keysGeneration: UInt64
  let logger: Logger
  let arena = MessageArena()
  private let batcher: TickBatcher<ServingLoop>
  private let control: ControlPlane
  private let connectionsOpen: ConnectionGate
  private var slots: [Slot] = []
  private var freeSlots: [UInt32] = []
  private var dirty: [ConnectionHandler] = []
  private var flushing: [ConnectionHandler] = []
  /// A tick has work and is to run.
  private var isTickDue = false
  /// It stands in the event loop's queue.
  private var isTickQueued = false
  /// A connection is being read: the tick is queued, or run, when that is complete.
  private var isReading = false
  private var timer: Scheduled<Void>?
  private var patrol: Patrol
  private var allocations: LoopAllocations?
  let outputBudget: OutputBudget
  private var whenEmpty: EventLoopPromise<Void>?
  private(set) var isStopping = false
  /// Made once: a closure per tick would be an allocation per tick.
  private var tick: (@Sendable () -> Void)!

  init(
    eventLoop: any EventLoop, shard: Int, reader: RegistryReader, limits: ServerConfiguration.ConnectionLimits,
    serving: ServerConfiguration.ServingOptions, shared: SharedServices
  ) {
    self.eventLoop = eventLoop
    self.shard = shard
    bounds = ConnectionStateMachine.Bounds(limits)
    let shortest = min(
      bounds.idleNanoseconds, bounds.frameNanoseconds, bounds.stallNanoseconds, bounds.handshakeNanoseconds)
    // An eighth of the shortest limit is near enough.
    patrol = Patrol(
      roundNanoseconds: Int64(min(Limits.patrolRoundNanosecondsMax, max(1_000_000, shortest / 8))))
    outputBytesMax = limits.outputBytesMax
    counters = shared.connectionCounters
    accessCounters = shared.accessCounters
    tlsCounters = shared.tlsCounters
    keys = shared.keys?.ring
    keysGeneration = keys?.generation ?? 0
    logger = shared.logger
    control = shared.control
    connectionsOpen = shared.gate
    outputBudget = shared.outputBudget
    allocations = LoopAllocations(metrics: shared.metrics, shard: shard)
    time = .now()
    // The mailbox must exist before the loop does, and its wake-up must find the loop.
    let doorbell = Doorbell()
    let mailbox = Mailbox { doorbell.ring() }
    batcher = TickBatcher(
      reader: reader, counters: shared.servingCounters, shard: shard, rowsMax: limits.batchRowsMax,
      shadows: shared.shadows,
      workers: shared.workers.map { ($0, mailbox) },
      tickNanosecondsTarget: UInt64(clamping: serving.tickTarget.nanoseconds))
    tick = { [unowned self] in
      isTickQueued = false
      if isTickDue { runTick() }
    }
    doorbell.connect(to: self) { [unowned self] in
      batcher.collect(into: self)
      runTick()
    }
  }

  /// Starts the timer that ends patience with silent peers and drops scratch of retired versions.
  func start() { armTimer(at: .now()) }

  /// Anew each time rather than a repeated task, so that its allocations fall into its own share.
  private func armTimer(at due: NIODeadline) {
    timer = eventLoop.scheduleTask(deadline: due) { [unowned self] in
      allocations?.count()
      checkTime()
      // From when it should have been, a round ago at most: what steps are late must not add up.
      let pause = TimeAmount.nanoseconds(patrol.pauseNanoseconds(over: slots.count))
      armTimer(at: max(.now() - .nanoseconds(patrol.roundNanoseconds), due + pause))
      allocations?.skip()
    }
  }

  // MARK: connections

  /// From here on calls are held against these keys.
  func setKeys(_ ring: KeyRing) {
    keys = ring
    keysGeneration = ring.generation
  }

  func add(_ handler: ConnectionHandler) -> (index: UInt32, generation: UInt32) {
    counters.open.add(1, shard: shard)
    counters.accepted.add(shard: shard)
    if let free = freeSlots.popLast() {
      slots[Int(free)].handler = handler
      return (free, slots[Int(free)].generation)
    }
    slots.append(Slot(handler: handler))
    return (UInt32(slots.count - 1), 0)
  }

  func remove(_ address: ReplyAddress) {
    let index = Int(address.slot)
    guard slots[index].generation == address.generation, slots[index].handler != nil else { return }
    slots[index].handler = nil
    slots[index].generation &+= 1
    freeSlots.append(address.slot)
    counters.open.add(-1, shard: shard)
    connectionsOpen.leave()
    if freeSlots.count == slots.count {
      whenEmpty?.succeed()
      whenEmpty = nil
    }
  }

  /// Nil if the connection has gone since it asked.
  private func handler(at address: ReplyAddress) -> ConnectionHandler? {
    let slot = slots[Int(address.slot)]
    return slot.generation == address.generation ? slot.handler : nil
  }

  func markDirty(_ handler: ConnectionHandler) {
    dirty.append(handler)
    armTick()
  }

  // MARK: ticks

  /// Whether it pays to ask ``refusal(of:)`` before a frame is decoded.
  var isUnderPressure: Bool { batcher.isUnderPressure }

  /// Why a call is refused before its payload is decoded; nil: decode it.
  func refusal(of peek: PredictPeek) -> ServingError? {
    // It takes the tick's lease, which the tick's end gives back.
    armTick()
    return batcher.refusal(
      of: peek.model, selector: peek.selector, routingKey: peek.routingKey, priority: peek.priority, into: self)
  }

  func admit(_ call: PredictCall) {
    armTick()
    batcher.admit(call, into: self)
  }

  /// The tick has work.
  private func armTick() {
    isTickDue = true
    if !isReading { queueTick() }
  }

  /// NIO runs tasks after it has handled every event of a wake-up: then this tick's calls are complete.
  private func queueTick() {
    guard !isTickQueued else { return }
    isTickQueued = true
    eventLoop.execute(tick)
  }

  /// Bytes have come over one connection; ``endRead()`` follows, or ``dropRead()`` where the connection ends.
  func beginRead() { isReading = true }

  /// Nothing more of this wake-up comes over this connection. If there is no other, the tick's calls are
  /// complete, and it need not go through the event loop's queue.
  func endRead() {
    isReading = false
    guard isTickDue, !isTickQueued else { return }
    if slots.count - freeSlots.count == 1 {
      runTick()
    } else {
      queueTick()
    }
  }

  /// A connection has ended, be it within a read, or within the very tick that answered it: no place to run one.
  func dropRead() {
    isReading = false
    if isTickDue { queueTick() }
  }

  /// Computes what the wake-up brought in, then hands each connection's answers to its socket at once.
  func runTick() {
    isTickDue = false
    batcher.run(into: self)
    // A flush may wake a connection that was blocked, and that may answer further calls: those go into
    // the other list and the next tick.
    swap(&dirty, &flushing)
    for handler in flushing { handler.flush() }
    flushing.removeAll(keepingCapacity: true)
    if batcher.hasUnsent { batcher.sent(at: now()) }
    batcher.feedShadows()
    allocations?.count()
  }

  // MARK: AnswerSink

  typealias Encoder = PredictResponseEncoder

  /// What the clock said last.
  private(set) var time: Instant

  func now() -> Instant {
    time = .now()
    return time
  }

  func makeEncoder(for model: LiveModel) -> PredictResponseEncoder {
    PredictResponseEncoder(
      model: model.model.name, version: model.version.number,
      outputs: model.compiled.plan.outputs.map { .init(name: $0.name, kind: $0.kind, columns: $0.columns) },
      labels: model.compiled.definition.labels)
  }

  func selection(
    of names: UnsafeBufferPointer<UnsafeRawBufferPointer>, _ encoder: PredictResponseEncoder
  ) throws(ServingError) -> UInt64 {
    try encoder.selection(of: names)
  }

  func answer(
    _ address: ReplyAddress, _ encoder: PredictResponseEncoder, rows: Int,
    values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, timing: AnswerTiming
  ) {
    guard let handler = handler(at: address) else { return }
    let timing = ResponseTiming(
      queueMicroseconds: timing.queueMicroseconds, computeMicroseconds: timing.computeMicroseconds,
      batchRows: timing.batchRows)
    handler.settle {
      encoder.append(id: address.id, rows: rows, values: values, selection: selection, timing: timing, to: &$0)
    }
  }

  func refuse(_ address: ReplyAddress, _ error: ServingError) {
    guard let handler = handler(at: address) else { return }
    // Before the first scan, "not found" may only mean "not yet".
    let told =
      error.code == .notFound && !control.readiness.hasScanned
      ? ServingError.unavailable("the server is still reading its store: \(error.message)") : error
    handler.settle { ResponseEncoder.appendError(id: address.id, told, to: &$0) }
  }

  /// Refusals above all: their callers have waited for the last tick, and need not wait for this one.
  func sendReady() {
    var index = 0
    // They stay in the list: the tick's end looks after what else they wait for.
    while index < dirty.count {
      dirty[index].send()
      index += 1
    }
    if batcher.hasUnsent { batcher.sent(at: now()) }
  }

  // MARK: control calls

  /// - Parameter visible: the models that the caller may know of; nil: all.
  func runControl(_ call: ControlCall, visible: [NamePattern]?, for address: ReplyAddress) {
    Task { [control, self] in
      let answer = await control.answer(call).showing(visible)
      eventLoop.execute { [self] in
        guard let handler = handler(at: address) else { return }
        handler.settleControl { answer.append(id: address.id, to: &$0) }
      }
    }
  }

  // MARK: time and end

  private func checkTime() {
    let now = now()
    let turn = patrol.step(over: slots.count)
    for index in turn { slots[index].handler?.checkTime(now) }
    if turn.upperBound == slots.count { batcher.sweep() }
  }

  /// Finishes what was accepted, tells every connection, and gives clients time to close by themselves.
  /// - Returns: a future that comes true when no connection is left.
  func goAway() -> EventLoopFuture<Void> {
    eventLoop.assertInEventLoop()
    isStopping = true
    runTick()
    for slot in slots { slot.handler?.goAway() }
    let promise = eventLoop.makePromise(of: Void.self)
    if freeSlots.count == slots.count {
      promise.succeed()
    } else {
      whenEmpty = promise
      eventLoop.scheduleTask(in: .milliseconds(Int64(Limits.lingerMilliseconds))) { [self] in
        for slot in slots { slot.handler?.leave() }
      }
    }
    return promise.futureResult
  }

  /// Ends every connection, whatever it still waits for.
  func closeAll() {
    runTick()
    for slot in slots { slot.handler?.close() }
  }

  func stop() {
    timer?.cancel()
    timer = nil
  }
}
