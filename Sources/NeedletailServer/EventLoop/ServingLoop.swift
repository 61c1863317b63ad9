internal import Logging
internal import NIOCore
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailProtobuf
internal import NeedletailSecurity
internal import NeedletailServing
internal import NeedletailSockets
internal import NeedletailSystem
internal import NeedletailTLS
internal import NeedletailWire

/// One event loop: a thread that waits for sockets, its connections, and its batcher. It goes one way, in turns that are
/// called ticks:
///
/// 1. Every readable connection is read, and its codec yields calls.
/// 2. Admission decides about each call: run it here, queue it for a worker, or reject it.
/// 3. Batches run, and answers are written into their connections.
/// 4. Every connection that was touched is flushed once, and some of those that have large answers to send send a piece.
///
/// Connections and batcher return what happened and never call the loop. A connection that can go on with calls which
/// had to wait does so in the next tick, so that nothing is recursive.
///
/// `@unchecked Sendable`: everything mutable is touched on the loop's thread only; other threads leave tasks in `inbox`.
final class ServingLoop: @unchecked Sendable {
  /// Tokens of the poller that are no connection's: those are slot and generation.
  private enum Token {
    static let inbox = UInt64.max
    static let timer = UInt64.max - 1
  }

  private let poller: Poller
  let inbox: Inbox
  private let timer: Timer
  /// Memory that every read of every connection goes to.
  private var arrived = ByteBuffer()
  /// Decrypted bytes of one read.
  private var decrypted = ByteBuffer()
  /// Shard of the metrics, and index among the registry's readers.
  private let shard: Int
  let context: ConnectionContext
  let access: AccessControl
  private let logger: Logger
  let arena = MessageArena()
  let batcher: TickBatcher<ServingLoop>
  let control: ControlPlane
  private let gate: ConnectionGate
  var connections = ConnectionTable()
  private var flushing: [UInt32] = []
  /// Connections whose waiting calls are taken in the next tick.
  private var resumed: [ReplyAddress] = []
  private var resuming: [ReplyAddress] = []
  /// Connections with more to send than a tick allows, in the order of their turns.
  private var sending: [ReplyAddress] = []
  private var pauses = ReadPauses()
  private var pausesEnding: [ReplyAddress] = []
  private var spin: IdleSpin
  private var sweep: TimeoutSweep
  private var nextSweep: Instant
  /// Whether the batcher's scratch is swept when this tick's calls are answered.
  private var isSweepDue = false
  private let lingerNanoseconds: UInt64
  /// Time at which connections that were sent GoAway are made to leave.
  private var leaveDue: Instant?
  private var allocations: LoopAllocations?
  private var whenEmpty: (() -> Void)?
  private(set) var isStopping = false
  private var isStopped = false
  private var whenStopped: (() -> Void)?
  /// Value of the clock's last reading.
  private(set) var time: Instant

  /// - Throws: if there are no descriptors left.
  init(
    shard: Int, reader: RegistryReader, limits: ServerConfiguration.ConnectionLimits,
    serving: ServerConfiguration.ServingOptions, shared: SharedServices
  ) throws(SystemError) {
    poller = try Poller()
    inbox = try Inbox()
    try inbox.attach(to: poller, token: Token.inbox)
    timer = try Timer(poller, token: Token.timer)
    arrived.reserveCapacity(Limits.receiveBytes)
    self.shard = shard
    context = ConnectionContext(shard: shard, limits: limits, shared: shared)
    let bounds = context.bounds
    let shortest = min(
      bounds.idleNanoseconds, bounds.frameNanoseconds, bounds.stallNanoseconds, bounds.handshakeNanoseconds)
    // An eighth of the shortest limit is near enough.
    let round = min(Limits.timeoutSweepNanosecondsMax, max(1_000_000, shortest / 8))
    sweep = TimeoutSweep(roundNanoseconds: Int64(round))
    lingerNanoseconds = UInt64(clamping: limits.linger.nanoseconds)
    spin = IdleSpin(nanoseconds: UInt64(clamping: serving.spin.nanoseconds))
    access = AccessControl(shared.keys?.ring, shard: shard, shared: shared)
    logger = shared.logger
    control = shared.control
    gate = shared.gate
    allocations = LoopAllocations(metrics: shared.metrics, shard: shard)
    let now = Instant.now()
    time = now
    nextSweep = now
    let mailbox = Mailbox { [inbox] in inbox.wake() }
    batcher = TickBatcher(
      reader: reader, counters: shared.servingCounters, shard: shard, rowsMax: limits.batchRowsMax,
      background: shared.background, keeping: shared.keeping, cache: shared.caches?[shard],
      workers: shared.workers.map { ($0, mailbox) },
      tickNanosecondsTarget: UInt64(clamping: serving.tickTarget.nanoseconds))
  }

  /// Reads the clock and remembers its value as ``time``.
  func now() -> Instant {
    time = .now()
    return time
  }

  // MARK: the thread

  /// Starts the thread; ``stop()`` ends it.
  func start() {
    NativeThread.start(name: "nt-loop-\(shard)", niceness: 0) { [self] in run() }
  }

  /// Runs `task` on the loop's thread, in the order in which tasks were given.
  func execute(_ task: @escaping @Sendable () -> Void) { inbox.post(task) }

  private func run() {
    var tasks: [Inbox.Task] = []
    handleTimer()
    while !isStopped { tick(&tasks) }
    for index in 0..<connections.slotCount { connections[slot: index]?.close() }
    whenStopped?()
  }

  /// One turn. It waits only if nothing is left to do.
  private func tick(_ tasks: inout [Inbox.Task]) {
    let events = resumed.isEmpty && sending.isEmpty && inbox.sleep() ? spin.wait(poller) : poller.look()
    let isWoken = inbox.awake()
    var isTimerDue = false
    for index in 0..<events {
      let event = poller.event(index)
      switch event.token {
      case Token.inbox: break
      case Token.timer: isTimerDue = true
      default: handle(event)
      }
    }
    if !resumed.isEmpty { takeResumed() }
    if isTimerDue { handleTimer() }
    if isWoken {
      batcher.collect(into: self)
      inbox.take(into: &tasks)
      for task in tasks { task() }
      tasks.removeAll(keepingCapacity: true)
    }
    batcher.run(into: self)
    flushConnections()
    if !sending.isEmpty { sendLargeAnswers() }
    if isSweepDue {
      isSweepDue = false
      batcher.sweep()
    }
    if batcher.hasUnsent { batcher.sent(at: now()) }
    batcher.feedShadows()
    allocations?.count()
  }

  // MARK: reading

  private func handle(_ event: Poller.Event) {
    guard let connection = connections[token: event.token] else { return }
    var hasFailed = event.hasFailed
    if event.canRead, connection.isRead {
      // Bytes that came before the failure are read first, and reading reports the failure.
      if read(connection) { hasFailed = false }
    }
    if event.canWrite, connection.hasRoom() {
      _ = now()
      connections.markDirty(connection.address)
    }
    if hasFailed {
      connection.close()
      connections.markDirty(connection.address)
    }
  }

  /// Reads a connection once and takes the calls that arrived.
  /// - Returns: false if there was nothing to read.
  private func read(_ connection: Connection) -> Bool {
    let now = now()
    let received = connection.receive(into: &arrived, &decrypted, now: now)
    if case .nothing = received { return false }
    connections.markDirty(connection.address)
    var readPause = UInt64.max
    switch received {
    case .nothing: break
    case .bytes: readPause = takeCalls(connection, in: arrived)
    case .decrypted(let names):
      if let names, access.authenticate(certificate: names, &connection.access) { connection.authenticated() }
      readPause = takeCalls(connection, in: decrypted)
    case .end: readPause = takeCalls(connection)
    }
    arrived.clear()
    decrypted.clear()
    if readPause > 0, readPause < .max { pause(connection, ReadPause(nanoseconds: readPause)) }
    return true
  }

  private func takeCalls(_ connection: Connection, in bytes: ByteBuffer) -> UInt64 {
    bytes.withUnsafeReadableBytes { bytes in
      connection.append(borrowing: bytes)
      defer { connection.keepInput() }
      return takeCalls(connection)
    }
  }

  /// Takes calls that arrived earlier and had to wait: for calls in flight to end, or for the peer to read its answers.
  private func takeResumed() {
    resuming.removeAll(keepingCapacity: true)
    swap(&resumed, &resuming)
    _ = now()
    for address in resuming {
      guard let connection = connections[address] else { continue }
      connections.markDirty(address)
      _ = takeCalls(connection)
      connection.keepInput()
    }
  }

  // MARK: flushing

  private func flushConnections() {
    connections.takeDirty(into: &flushing)
    var allowance = 0
    for index in flushing {
      if let connection = connections[slot: Int(index)] { flush(connection, &allowance) }
    }
  }

  private func flush(_ connection: Connection, _ allowance: inout Int) {
    switch connection.flush(poller, allowance: &allowance, now: time) {
    case .done: break
    case .resumed: resumed.append(connection.address)
    case .closed: return remove(connection.address)
    }
    if connection.hasMore, connection.startSending() { sending.append(connection.address) }
  }

  /// Sends pieces of large answers, one connection after the other, as many as a tick allows.
  private func sendLargeAnswers() {
    var allowance = Limits.largeAnswerBytesPerTick
    var turns = sending.count
    while allowance > 0, turns > 0 {
      turns -= 1
      guard let connection = connections[sending.removeFirst()] else { continue }
      connection.isSending = false
      var piece = min(allowance, Limits.largeAnswerPieceBytes)
      allowance -= piece
      flush(connection, &piece)
      allowance += piece
    }
  }

  // MARK: time

  /// Does what is due by now, and sets the timer for what comes next.
  private func handleTimer() {
    allocations?.count()
    let now = now()
    if now >= nextSweep {
      sweepTimeouts(now)
      // Counted from when the sweep was due, one round ago at most: late steps must not add up.
      let round = UInt64(sweep.roundNanoseconds)
      let pause = UInt64(sweep.pauseNanoseconds(over: connections.slotCount))
      nextSweep = Instant(nanoseconds: max(now.nanoseconds &- round, nextSweep.nanoseconds) &+ pause)
    }
    if let due = leaveDue, now >= due {
      leaveDue = nil
      forEachConnection { $0.leave() }
    }
    allocations?.skip()
    if let due = pauses.due, now >= due { endPauses() }
    setTimer()
  }

  private func setTimer() {
    timer.set(nanoseconds: min(nextSweep, leaveDue ?? nextSweep, pauses.due ?? nextSweep).nanoseconds)
  }

  private func sweepTimeouts(_ now: Instant) {
    let range = sweep.step(over: connections.slotCount)
    for index in range {
      guard let connection = connections[slot: index] else { continue }
      connection.checkTimeouts(now: now)
      if connection.state.isClosed { connections.markDirty(connection.address) }
    }
    if range.upperBound == connections.slotCount { isSweepDue = true }
  }

  /// Leaves a connection unread for a while, or less: all paused connections are read together.
  private func pause(_ connection: Connection, _ pause: ReadPause) {
    guard connection.pauseReading(pause) else { return }
    let end = Instant(nanoseconds: time.nanoseconds &+ pause.nanoseconds)
    if pauses.add(connection.address, until: end) { setTimer() }
  }

  /// Reads what arrived during read pauses. An empty read now and then costs less than a wake-up for every call; after
  /// some of them in a row the poller watches the connection again.
  private func endPauses() {
    pauses.take(into: &pausesEnding)
    for address in pausesEnding {
      guard let connection = connections[address], var ended = connection.endPause() else { continue }
      connections.markDirty(address)
      guard !read(connection), ended.emptyReads < Limits.emptyReadsMax else { continue }
      ended.emptyReads += 1
      pause(connection, ended)
    }
  }

  // MARK: connections

  /// Serves a socket from now on. Called on the loop's thread.
  /// - Parameters:
  ///   - codec: protocol of the connection.
  ///   - tls: nil: bytes are not encrypted.
  func adopt(_ descriptor: Int32, codec: ConnectionCodec.Type, tls: TLSContext?) {
    let address = connections.reserve()
    let token = ConnectionTable.token(of: address)
    let socket = ConnectionSocket(descriptor, token: token)
    context.counters.open.add(1, shard: shard)
    context.counters.accepted.add(shard: shard)
    do {
      let connection = try Connection(
        socket, address: address, codec: codec, tls: tls, isKeyRequired: access.isKeyRequired, context: context,
        now: now())
      connections.insert(connection)
      try poller.add(descriptor, token: token)
      if isStopping { connection.goAway() }
      connections.markDirty(address)
    } catch {
      logger.warning("cannot serve a connection", metadata: ["error": "\(error)"])
      if let connection = connections[address] { connection.close() } else { socket.close() }
      remove(address)
    }
  }

  private func remove(_ address: ReplyAddress) {
    connections.release(address)
    context.counters.open.add(-1, shard: shard)
    gate.leave()
    if connections.isEmpty {
      whenEmpty?()
      whenEmpty = nil
    }
  }

  private func forEachConnection(_ body: (Connection) -> Void) {
    for index in 0..<connections.slotCount {
      guard let connection = connections[slot: index] else { continue }
      body(connection)
      connections.markDirty(connection.address)
    }
  }

  /// Checks calls against other keys from now on.
  func setKeys(_ ring: KeyRing) { access.replace(ring) }

  /// Finishes accepted calls, sends GoAway on every connection, and gives clients time to close by themselves. Returns
  /// when no connection is left.
  func goAway() async {
    await withCheckedContinuation { continuation in
      inbox.post { [self] in
        isStopping = true
        forEachConnection { $0.goAway() }
        guard !connections.isEmpty else { return continuation.resume() }
        whenEmpty = { continuation.resume() }
        leaveDue = Instant(nanoseconds: now().nanoseconds &+ lingerNanoseconds)
        setTimer()
      }
    }
  }

  /// Ends every connection, also if calls of it are not answered.
  func closeAll() {
    inbox.post { [self] in
      batcher.run(into: self)
      flush()
      forEachConnection { $0.close() }
    }
  }

  /// Ends the thread, and with it every connection that is left. Called once, and only after ``start()``.
  func stop() async {
    await withCheckedContinuation { continuation in
      inbox.post { [self] in
        whenStopped = { continuation.resume() }
        isStopped = true
      }
    }
  }
}
