internal import Logging
internal import NIOCore
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailProtobuf
internal import NeedletailSecurity
internal import NeedletailServing
internal import NeedletailSockets
internal import NeedletailSystem
internal import NeedletailTLS
internal import NeedletailWire

/// One event loop: a thread that waits for sockets, its connections, its batcher, its scratch.
///
/// `@unchecked Sendable`: everything mutable is touched on that thread only; others leave what they want in
/// `inbox`.
final class ServingLoop: AnswerSink, @unchecked Sendable {
  private struct Slot {
    var generation: UInt32 = 0
    var connection: Connection?
  }

  /// What the poller tells of that is no connection: their tokens are slot and generation.
  private enum Token {
    static let inbox = UInt64.max
    static let alarm = UInt64.max - 1
  }

  let poller: Poller
  private let inbox: Inbox
  private let alarm: Alarm
  /// What a socket was last read into; its memory serves every read of every connection.
  var arrived = ByteBuffer()
  /// Decrypted bytes of one read.
  var decrypted = ByteBuffer()
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
  private var dirty: [Connection] = []
  private var flushing: [Connection] = []
  /// There are calls to compute, or answers to send.
  private var isTickDue = false
  private var resting = RestingConnections()
  /// Whose rest ends now, while they are read.
  private var rested: [ReplyAddress] = []
  private var patrol: Patrol
  private var nextPatrol: Instant
  /// When connections that were told to go have had time enough.
  private var leaveDue: Instant?
  private var allocations: LoopAllocations?
  let outputBudget: OutputBudget
  private var whenEmpty: (() -> Void)?
  private(set) var isStopping = false
  private var isStopped = false
  private var whenStopped: (() -> Void)?

  /// - Throws: if there are no descriptors left for it.
  init(
    shard: Int, reader: RegistryReader, limits: ServerConfiguration.ConnectionLimits,
    serving: ServerConfiguration.ServingOptions, shared: SharedServices
  ) throws(SocketError) {
    poller = try Poller()
    inbox = try Inbox()
    try inbox.attach(to: poller, token: Token.inbox)
    alarm = try Alarm(poller, token: Token.alarm)
    arrived.reserveCapacity(Limits.receiveBytes)
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
    let now = Instant.now()
    time = now
    nextPatrol = now
    let mailbox = Mailbox { [inbox] in inbox.ring() }
    batcher = TickBatcher(
      reader: reader, counters: shared.servingCounters, shard: shard, rowsMax: limits.batchRowsMax,
      shadows: shared.shadows,
      workers: shared.workers.map { ($0, mailbox) },
      tickNanosecondsTarget: UInt64(clamping: serving.tickTarget.nanoseconds))
  }

  // MARK: the thread

  /// Starts the thread; ``stop()`` ends it.
  func start() {
    NativeThread.start(name: "nt-loop-\(shard)", niceness: 0) { [self] in run() }
  }

  /// Runs `task` on the loop's thread, in the order in which tasks came.
  func execute(_ task: @escaping @Sendable () -> Void) { inbox.post(task) }

  private func run() {
    var tasks: [Inbox.Task] = []
    handleAlarm()
    while !isStopped {
      let events = !isTickDue && inbox.sleep() ? poller.wait() : poller.look()
      let isRung = inbox.awake()
      var isAlarmed = false
      for index in 0..<events {
        let event = poller.event(index)
        switch event.token {
        case Token.inbox: break
        case Token.alarm: isAlarmed = true
        default: connection(at: event.token)?.handle(event)
        }
      }
      if isRung {
        batcher.collect(into: self)
        inbox.take(into: &tasks)
        for task in tasks { task() }
        tasks.removeAll(keepingCapacity: true)
        isTickDue = true
      }
      if isTickDue { runTick() }
      if isAlarmed { handleAlarm() }
    }
    for slot in slots { slot.connection?.close() }
    whenStopped?()
  }

  /// Does what is due by now, and sets the alarm for what comes next.
  private func handleAlarm() {
    allocations?.count()
    let now = now()
    if now >= nextPatrol {
      checkTime(now)
      // From when it should have been, a round ago at most: what steps are late must not add up.
      let round = UInt64(patrol.roundNanoseconds)
      let pause = UInt64(patrol.pauseNanoseconds(over: slots.count))
      nextPatrol = Instant(nanoseconds: max(now.nanoseconds &- round, nextPatrol.nanoseconds) &+ pause)
    }
    if let due = leaveDue, now >= due {
      leaveDue = nil
      for slot in slots { slot.connection?.leave() }
    }
    allocations?.skip()
    if let due = resting.due, now >= due { endRest() }
    setAlarm()
  }

  private func setAlarm() {
    alarm.set(nanoseconds: min(nextPatrol, leaveDue ?? nextPatrol, resting.due ?? nextPatrol).nanoseconds)
  }

  /// Has a connection be read again in `nanoseconds`, or sooner: all that rest are read together.
  func rest(_ address: ReplyAddress, nanoseconds: UInt64) {
    if resting.add(address, until: Instant(nanoseconds: time.nanoseconds &+ nanoseconds)) { setAlarm() }
  }

  private func endRest() {
    resting.take(into: &rested)
    // Most of them will rest again.
    for address in rested { connection(at: address)?.endRest() }
  }

  // MARK: connections

  /// From here on calls are held against these keys.
  func setKeys(_ ring: KeyRing) {
    keys = ring
    keysGeneration = ring.generation
  }

  /// Serves a socket from now on. Called on the loop's thread.
  /// - Parameter tls: what to meet it with; nil: in the clear.
  func adopt(_ descriptor: Int32, tls: TLSContext?) {
    let index = freeSlots.popLast() ?? UInt32(slots.count)
    if index == slots.count { slots.append(Slot()) }
    let generation = slots[Int(index)].generation
    counters.open.add(1, shard: shard)
    counters.accepted.add(shard: shard)
    let token = UInt64(index) | UInt64(generation) << 32
    let socket = ConnectionSocket(descriptor, token: token)
    let address = ReplyAddress(slot: index, generation: generation, id: 0)
    do {
      let connection = try Connection(socket, address: address, loop: self, tls: tls, now: now())
      slots[Int(index)].connection = connection
      try poller.add(descriptor, token: token)
      if isStopping { connection.goAway() }
    } catch {
      logger.warning("cannot serve a connection", metadata: ["error": "\(error)"])
      if let connection = slots[Int(index)].connection {
        connection.close()
      } else {
        socket.close()
        free(index)
      }
    }
  }

  func remove(_ address: ReplyAddress) { free(address.slot) }

  private func free(_ index: UInt32) {
    slots[Int(index)].connection = nil
    slots[Int(index)].generation &+= 1
    freeSlots.append(index)
    counters.open.add(-1, shard: shard)
    connectionsOpen.leave()
    if freeSlots.count == slots.count {
      whenEmpty?()
      whenEmpty = nil
    }
  }

  /// Nil if it has gone, with its event still on the way.
  private func connection(at token: UInt64) -> Connection? {
    let slot = slots[Int(UInt32(truncatingIfNeeded: token))]
    return slot.generation == UInt32(truncatingIfNeeded: token >> 32) ? slot.connection : nil
  }

  /// Nil if the connection has gone since it asked.
  private func connection(at address: ReplyAddress) -> Connection? {
    let slot = slots[Int(address.slot)]
    return slot.generation == address.generation ? slot.connection : nil
  }

  func markDirty(_ connection: Connection) {
    dirty.append(connection)
    isTickDue = true
  }

  // MARK: ticks

  /// Whether it pays to ask ``outlook(of:)`` before a frame is decoded.
  var isUnderPressure: Bool { batcher.isUnderPressure }

  /// What becomes of a call, before its payload is decoded.
  func outlook(of peek: PredictPeek) -> EarlyOutlook {
    // It takes the tick's lease, which the tick's end gives back.
    isTickDue = true
    return batcher.outlook(
      of: peek.model, selector: peek.selector, routingKey: peek.routingKey, priority: peek.priority,
      rows: peek.rows, into: self)
  }

  func admit(_ call: PredictCall) {
    isTickDue = true
    batcher.admit(call, into: self)
  }

  /// Computes what the wake-up brought in, then hands each connection's answers to its socket at once.
  func runTick() {
    batcher.run(into: self)
    isTickDue = false
    // A flush may wake a connection that was blocked, and that may answer further calls: those go into
    // the other list and the next tick.
    swap(&dirty, &flushing)
    for connection in flushing { connection.flush() }
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
    guard let connection = connection(at: address) else { return }
    let timing = ResponseTiming(
      queueMicroseconds: timing.queueMicroseconds, computeMicroseconds: timing.computeMicroseconds,
      batchRows: timing.batchRows)
    connection.settle {
      encoder.append(id: address.id, rows: rows, values: values, selection: selection, timing: timing, to: &$0)
    }
  }

  func refuse(_ address: ReplyAddress, _ error: ServingError) {
    guard let connection = connection(at: address) else { return }
    var told = connection.told(error)
    // Before the first scan, "not found" may only mean "not yet".
    if error.code == .notFound, !control.readiness.hasScanned {
      told = .unavailable("the server is still reading its store: \(told.message)")
    }
    connection.settle { ResponseEncoder.appendError(id: address.id, told, to: &$0) }
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
      inbox.post { [self] in
        guard let connection = connection(at: address) else { return }
        connection.settleControl { answer.append(id: address.id, to: &$0) }
      }
    }
  }

  // MARK: time and end

  private func checkTime(_ now: Instant) {
    let turn = patrol.step(over: slots.count)
    for index in turn { slots[index].connection?.checkTime(now) }
    if turn.upperBound == slots.count { batcher.sweep() }
  }

  /// Finishes what was accepted, tells every connection, and gives clients time to close by themselves. Returns
  /// when no connection is left.
  func goAway() async {
    await withCheckedContinuation { continuation in
      inbox.post { [self] in
        isStopping = true
        runTick()
        for slot in slots { slot.connection?.goAway() }
        guard freeSlots.count < slots.count else { return continuation.resume() }
        whenEmpty = { continuation.resume() }
        leaveDue = now().advanced(byMicroseconds: UInt64(Limits.lingerMilliseconds) * 1000)
        handleAlarm()
      }
    }
  }

  /// Ends every connection, whatever it still waits for.
  func closeAll() {
    inbox.post { [self] in
      runTick()
      for slot in slots { slot.connection?.close() }
    }
  }

  /// Ends the thread, and with it every connection that is left. Once, and only after ``start()``.
  func stop() async {
    await withCheckedContinuation { continuation in
      inbox.post { [self] in
        whenStopped = { continuation.resume() }
        isStopped = true
      }
    }
  }
}
