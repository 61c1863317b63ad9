internal import NeedletailCore
internal import NeedletailSockets

/// Answers: reading, checking and counting them, and the calls that get none.
extension LoadThread {
  /// Reads what has arrived on a connection and counts its answers.
  mutating func receive(_ index: Int, _ source: Source) {
    switch connections[index].receive() {
    case .failed: return lose(index)
    case .wouldBlock: return
    case .done: break
    }
    while true {
      switch connections[index].nextFrame() {
      case .incomplete:
        wasBlocked = false
        if schedule == nil, now >= times.start, now < times.end { fill(index, source) }
        return
      case .malformed:
        statistics.strayAnswers += 1
        return lose(index)
      case .payload(let payload):
        guard let answer = try? AnswerView(payload) else {
          statistics.strayAnswers += 1
          return lose(index)
        }
        if let last = answer.goAwayLastID { goAway(index, lastID: last) } else { finish(answer, on: index, source) }
      }
    }
  }

  @inline(__always)
  private mutating func finish(_ answer: AnswerView, on index: Int, _ source: Source) {
    guard let slot = connections[index].take(id: answer.id) else {
      // A refusal of the whole connection, before it is closed, answers no call.
      if answer.id == 0, answer.status != .ok { return }
      if !connections[index].forgiveAbandoned() { statistics.strayAnswers += 1 }
      return
    }
    guard slot.intendedNanoseconds >= times.measure else { return }
    let frame = source.frames[slot.frame]
    let status = answer.status
    statistics.answered += 1
    statistics.byStatus[Int(status.rawValue)] += 1
    let latency = now > slot.intendedNanoseconds ? now - slot.intendedNanoseconds : 0
    guard status == .ok else {
      statistics.recordRefusal(nanoseconds: latency)
      return
    }
    statistics.recordLatency(nanoseconds: latency)
    if answer.queueMicroseconds > timeoutMicroseconds { statistics.ranLate += 1 }
    statistics.count(model: frame.model, version: answer.version)
    guard isRight(answer, frame) else { return }
    if latency > timeout {
      statistics.late += 1
    } else {
      statistics.good += 1
      statistics.goodRows += UInt64(frame.rows)
    }
  }

  /// Compares an answer with what is expected, and counts the result.
  @inline(__always)
  private mutating func isRight(_ answer: AnswerView, _ frame: RequestFrames.Frame) -> Bool {
    guard answer.version != 0, answer.model.elementsEqual(plan.names[frame.model].utf8) else {
      statistics.wrong += 1
      return false
    }
    if let pinned = plan.pinnedVersions[frame.model], pinned != answer.version {
      statistics.mixed += 1
      return false
    }
    guard let check = plan.checks[frame.model] else { return true }
    switch check.check(answer, firstRow: frame.firstRow, rows: frame.rows) {
    case .right: statistics.verified += 1
    case .unknown: break
    case .wrong:
      statistics.verified += 1
      statistics.wrong += 1
      return false
    case .mixed:
      statistics.verified += 1
      statistics.mixed += 1
      return false
    }
    return true
  }

  /// Calls above `lastID` were not executed; the others are still answered.
  private mutating func goAway(_ index: Int, lastID: UInt64) {
    connections[index].isGoingAway = true
    let measure = times.measure
    var lost: UInt64 = 0
    connections[index].takeAll(
      where: { $0.id > lastID }, { if $0.intendedNanoseconds >= measure { lost += 1 } })
    statistics.lost += lost
  }

  // MARK: ends

  /// Gives up calls that are over their time, and leaves servers that stop.
  mutating func sweep(_ source: Source) {
    let (latest, measure) = (now, times.measure)
    // Twice the timeout, so that a late answer is counted as late and not as missing.
    let abandonedNanoseconds = timeout > UInt64.max / 4 ? timeout : timeout * 2 + 1_000_000_000
    var given: UInt64 = 0
    for index in 0..<connectionCount {
      var abandoned = 0
      connections[index].takeAll(
        where: { latest > $0.intendedNanoseconds && latest - $0.intendedNanoseconds > abandonedNanoseconds },
        {
          abandoned += 1
          if $0.intendedNanoseconds >= measure { given += 1 }
        })
      connections[index].abandoned += abandoned
      if connections[index].isGoingAway, connections[index].inFlight == 0 { lose(index) }
    }
    statistics.unanswered += given
  }

  /// Counts the calls that are left at the end of a run.
  mutating func finish(_ source: Source) {
    let measure = times.measure
    var left: UInt64 = 0
    for index in 0..<connectionCount {
      connections[index].takeAll(where: { _ in true }, { if $0.intendedNanoseconds >= measure { left += 1 } })
    }
    statistics.unanswered += left
    if let schedule { statistics.unsent += schedule.expectedCount(before: times.end) }
  }
}
