internal import NeedletailCore
internal import NeedletailSockets
internal import NeedletailSystem
internal import NeedletailTLS

/// The receiver of a thread's figures while it runs.
protocol StatisticsSink {
  func add(_ statistics: LoadStatistics)
}

/// One thread's part of a run: its connections, schedule and figures. It takes no locks and allocates nothing per
/// request.
struct LoadThread: ~Copyable {
  struct Times {
    /// Time from which requests are sent.
    var start: UInt64
    /// Time from which they count.
    var measure: UInt64
    /// Time from which no more are sent.
    var end: UInt64
    /// Time until which answers are waited for.
    var drained: UInt64
  }

  let plan: LoadPlan
  let address: SocketAddress
  let tls: TLSSession.Role?
  let times: Times
  let timeout: UInt64
  let timeoutMicroseconds: UInt64
  private let poller: Poller
  let connections: UnsafeMutablePointer<LoadConnection>
  let connectionCount: Int
  var schedule: ArrivalSchedule?
  var statistics = LoadStatistics()
  var dirty: [Int] = []
  var closedConnections: Int
  /// Positions of the round robins over connections, over the mix, and over each model's frames.
  var nextConnection = 0
  var nextInMix: Int
  var nextFrame: [Int]
  /// Whether no connection has room, so that the next request waits for an answer and not for the clock.
  var wasBlocked = false
  /// Whether the request that is due now had to wait for room.
  var isHeld = false
  var now: UInt64

  private static let housekeepingNanoseconds: UInt64 = 100_000_000
  private static let retryNanoseconds: UInt64 = 100_000_000
  /// Frames queued before the sockets are served again.
  private static let burstMax = 4096

  init(_ plan: LoadPlan, address: SocketAddress, tls: TLSSession.Role?, times: Times, index: Int) {
    guard let poller = try? Poller() else { preconditionFailure("a load thread needs one descriptor") }
    Poller.useTimersOnTime()
    self.poller = poller
    self.plan = plan
    self.address = address
    self.tls = tls
    self.times = times
    timeout = plan.timeout.wholeNanoseconds
    timeoutMicroseconds = timeout / 1000
    let threads = plan.threads
    connectionCount = max(1, plan.connections / threads + (index < plan.connections % threads ? 1 : 0))
    connections = .allocate(capacity: connectionCount)
    for position in 0..<connectionCount {
      (connections + position).initialize(to: LoadConnection(depth: plan.depth))
    }
    closedConnections = connectionCount
    nextInMix = index % plan.mix.sequence.count
    // Threads begin at different rows.
    nextFrame = plan.frames.framesOfModel.map { index * $0.count / threads }
    now = Instant.now().nanoseconds
    if case .open(let rate, let arrivals) = plan.pacing {
      schedule = ArrivalSchedule(
        ratePerSecond: rate / Double(threads), arrivals: arrivals, startNanoseconds: times.start,
        phase: Double(index) / Double(threads), seed: plan.seed &+ UInt64(index) &* 0x9e37)
    }
  }

  deinit {
    connections.deinitialize(count: connectionCount)
    connections.deallocate()
  }

  /// Runs to the end of the plan.
  mutating func run(_ sink: some StatisticsSink) {
    // Held here, so that no request counts references.
    let frames = plan.frames
    frames.bytes.withUnsafeBytes { bytes in
      frames.frames.withUnsafeBufferPointer { run(sink, Source(bytes: bytes, frames: $0)) }
    }
  }

  /// The encoded calls, borrowed.
  struct Source {
    let bytes: UnsafeRawBufferPointer
    let frames: UnsafeBufferPointer<RequestFrames.Frame>
  }

  private mutating func run(_ sink: some StatisticsSink, _ source: Source) {
    var housekeeping = now
    while true {
      now = Instant.now().nanoseconds
      if now >= housekeeping {
        housekeeping = now + Self.housekeepingNanoseconds
        connectClosed()
        sweep(source)
        sink.add(statistics)
        statistics = LoadStatistics()
      }
      if now >= times.start, now < times.end { issueDue(source) }
      flushDirty()
      if now >= times.end, now >= times.drained || inFlight == 0 { break }
      let count = poller.wait(nanoseconds: idleNanoseconds(until: housekeeping))
      now = Instant.now().nanoseconds
      for index in 0..<count { handle(poller.event(index), source) }
    }
    finish(source)
    sink.add(statistics)
  }

  var inFlight: Int { (0..<connectionCount).reduce(0) { $0 + connections[$1].inFlight } }

  /// Time until something is due.
  private func idleNanoseconds(until housekeeping: UInt64) -> UInt64 {
    var next = now < times.end ? min(housekeeping, times.end) : min(housekeeping, times.drained)
    if now < times.start { next = min(next, times.start) }
    // Where all is full an answer wakes this thread, not the clock.
    if let schedule, now < times.end, !wasBlocked { next = min(next, schedule.nextNanoseconds) }
    let later = Instant.now().nanoseconds
    return next > later ? next - later : 0
  }

  // MARK: sending

  private mutating func issueDue(_ source: Source) {
    guard schedule != nil else {
      for index in 0..<connectionCount { fill(index, source) }
      return
    }
    let held = isHeld
    wasBlocked = false
    isHeld = false
    for _ in 0..<Self.burstMax {
      guard let due = schedule?.nextNanoseconds, due <= now, due < times.end else { return }
      if now - due > timeout {
        if due >= times.measure { statistics.expired += 1 }
        schedule?.advance()
        continue
      }
      guard let index = connectionWithRoom() else {
        wasBlocked = true
        isHeld = true
        return
      }
      if due >= times.measure {
        if held { statistics.heldBack += 1 } else { statistics.recordLag(nanoseconds: now - due) }
      }
      send(on: index, intendedNanoseconds: due, source)
      schedule?.advance()
    }
  }

  /// Sends as many calls as the depth of a closed loop allows.
  mutating func fill(_ index: Int, _ source: Source) {
    while connections[index].hasRoom { send(on: index, intendedNanoseconds: now, source) }
  }

  private mutating func connectionWithRoom() -> Int? {
    for _ in 0..<connectionCount {
      let index = nextConnection
      nextConnection = index + 1 == connectionCount ? 0 : index + 1
      if connections[index].hasRoom { return index }
    }
    return nil
  }

  @inline(__always)
  private mutating func send(on index: Int, intendedNanoseconds: UInt64, _ source: Source) {
    let model = plan.mix.sequence[nextInMix]
    nextInMix = nextInMix + 1 == plan.mix.sequence.count ? 0 : nextInMix + 1
    let turn = nextFrame[model]
    let choices = plan.frames.framesOfModel[model].count
    nextFrame[model] = turn + 1 >= choices ? 0 : turn + 1
    let frame = plan.frames.framesOfModel[model][turn]
    connections[index].enqueue(
      source.frames[frame], index: frame, in: source.bytes, intendedNanoseconds: intendedNanoseconds)
    if intendedNanoseconds >= times.measure { statistics.sent += 1 }
    if !connections[index].isDirty {
      connections[index].isDirty = true
      dirty.append(index)
    }
  }

  private mutating func flushDirty() {
    guard !dirty.isEmpty else { return }
    for index in dirty {
      connections[index].isDirty = false
      if case .open = connections[index].state, !connections[index].isWaitingForRoom { flush(index) }
    }
    dirty.removeAll(keepingCapacity: true)
  }

  private mutating func flush(_ index: Int) {
    switch connections[index].flush() {
    case .failed: lose(index)
    case .wouldBlock: setWaiting(index, true)
    case .done: setWaiting(index, false)
    }
  }

  private mutating func setWaiting(_ index: Int, _ isWaiting: Bool) {
    guard connections[index].isWaitingForRoom != isWaiting else { return }
    connections[index].isWaitingForRoom = isWaiting
    poller.modify(connections[index].descriptor, token: UInt64(index), wantsRoom: isWaiting)
  }

  // MARK: connections

  private mutating func connectClosed() {
    guard closedConnections > 0, now < times.end else { return }
    for index in 0..<connectionCount {
      guard case .closed(let retry) = connections[index].state, retry <= now else { continue }
      let descriptor = address.connect()
      guard descriptor >= 0 else {
        statistics.connectFailures += 1
        connections[index].state = .closed(retryNanoseconds: now + Self.retryNanoseconds)
        continue
      }
      connections[index].descriptor = descriptor
      connections[index].state = .connecting
      connections[index].isWaitingForRoom = true
      closedConnections -= 1
      // It connects: it has room once that is done.
      do throws(SystemError) {
        try poller.add(descriptor, token: UInt64(index), wantsRoom: true)
      } catch {
        statistics.connectFailures += 1
        drop(index)
      }
    }
  }

  private mutating func connected(_ index: Int, _ source: Source) {
    guard SocketAddress.isConnected(connections[index].descriptor) else {
      statistics.connectFailures += 1
      drop(index)
      return
    }
    setWaiting(index, false)
    guard let tls else { return opened(index, source) }
    guard (try? connections[index].secure(tls)) != nil else { return lose(index) }
    flush(index)
  }

  /// Continues the TLS handshake.
  private mutating func secure(_ index: Int, _ source: Source) {
    if case .failed = connections[index].receive() { return lose(index) }
    flush(index)
    guard case .securing = connections[index].state, connections[index].isSecured else { return }
    opened(index, source)
  }

  private mutating func opened(_ index: Int, _ source: Source) {
    connections[index].state = .open
    wasBlocked = false
    if !plan.greeting.isEmpty {
      connections[index].greet(plan.greeting)
      flush(index)
      guard case .open = connections[index].state else { return }
    }
    if schedule == nil, now >= times.start, now < times.end { fill(index, source) }
  }

  /// Ends a connection that the server or the network has closed, and counts its calls as lost.
  mutating func lose(_ index: Int) {
    if case .securing = connections[index].state {
      statistics.connectFailures += 1
      return drop(index)
    }
    if !connections[index].isGoingAway, now < times.end { statistics.connectionsLost += 1 }
    let measure = times.measure
    var lost: UInt64 = 0
    connections[index].takeAll(where: { _ in true }, { if $0.intendedNanoseconds >= measure { lost += 1 } })
    statistics.lost += lost
    drop(index)
  }

  private mutating func drop(_ index: Int) {
    connections[index].close(retryNanoseconds: now + Self.retryNanoseconds)
    closedConnections += 1
    wasBlocked = false
  }

  // MARK: receiving

  private mutating func handle(_ event: Poller.Event, _ source: Source) {
    let index = Int(event.token)
    if case .connecting = connections[index].state {
      if event.canWrite { connected(index, source) }
      return
    }
    if case .securing = connections[index].state {
      if event.canRead { secure(index, source) } else if event.canWrite { flush(index) }
      return
    }
    guard case .open = connections[index].state else { return }
    if event.canRead { receive(index, source) }
    guard case .open = connections[index].state, event.canWrite else { return }
    flush(index)
    wasBlocked = false
  }
}
