internal import NeedletailBundle
internal import NeedletailCore

/// A snapshot's finding on one file, and the words for the file of a version.
extension Reconciler {
  /// Takes in a known version as the store holds it now.
  mutating func observe(_ bundle: StoredBundle, now: Moment) {
    guard var record = records[bundle.key] else { return }
    let isChanged = record.bundle?.fingerprint != bundle.fingerprint
    record.observe(bundle, isChanged: isChanged, now: now)
    // Other bytes under a number that was there at the start are as late as a file that was not.
    if isChanged && isBelowHighest(bundle.key) { record.isLate = true }
    records[bundle.key] = record
    switch record.lifecycle.state {
    case .live:
      guard isChanged, case .notABundle(let error) = bundle.completeness else { return }
      records[bundle.key]?.attempted = bundle.fingerprint
      refuseFile(ofLive: bundle.key, Rejection(error), now: now)
    case .incomplete, .verifying, .rejected, .retired:
      guard inFlight != bundle.key else { return }
      judgeByHeader(bundle, record, now: now)
    case .loading, .checking, .warming, .retiring:
      break
    }
  }

  /// Takes in that the store does not hold a known version any more.
  mutating func observeAbsence(of key: VersionKey, now: Moment) {
    guard let record = records[key] else { return }
    switch record.lifecycle.state {
    case .live:
      guard record.bundle != nil else { return }
      records[key]?.lose()
      records[key]?.attempted = nil
      setRemark("file removed from the store; still serving", of: key, now: now)
    case .retiring:
      records[key]?.lose()
    case .incomplete, .verifying, .loading, .checking, .warming, .retired, .rejected:
      if inFlight == key {
        records[key]?.lose()
      } else {
        records[key] = nil
      }
    }
  }

  /// The finding from length and header alone on a file that is not in memory.
  private mutating func judgeByHeader(_ bundle: StoredBundle, _ record: VersionRecord, now: Moment) {
    switch bundle.completeness {
    case .complete:
      break
    case .incomplete(let found, let expected):
      let stalled = now.instant.microseconds(since: record.stalledSince) / 1_000_000
      var reason = "found \(found) of \(expected) bytes"
      let isStale = stalled >= UInt32(Limits.incompleteStaleSeconds)
      if isStale { reason += ", not growing for \(Limits.incompleteStaleSeconds) s" }
      // Growth is no news; the first sight, and that it stopped, are.
      let isNews = record.lifecycle.state != .incomplete || isStale
      records[bundle.key]?.attempted = nil
      enter(.incomplete, bundle.key, reason: reason, now: now, isTold: isNews)
    case .notABundle(let error):
      guard record.attempted != bundle.fingerprint else { return }
      records[bundle.key]?.attempted = bundle.fingerprint
      reject(bundle.key, Rejection(error), now: now)
    }
  }

  /// Says what is odd about the file of a live version; an empty remark says that nothing is.
  mutating func setRemark(_ remark: String, of key: VersionKey, now: Moment) {
    records[key]?.remark = remark
    guard let reason = records[key]?.liveReason else { return }
    enter(.live, key, reason: reason, now: now)
  }

  /// The store holds a bad file under the number of a live version, which serves on.
  mutating func refuseFile(ofLive key: VersionKey, _ rejection: Rejection, now: Moment) {
    pending.tell(.rejected(rejection, of: key))
    setRemark("file in the store refused: \(rejection.message); still serving", of: key, now: now)
  }

  mutating func reject(_ key: VersionKey, _ rejection: Rejection, now: Moment) {
    if rejection.isTransient { records[key]?.pause(now: now) }
    records[key]?.lacksMemory = rejection.label == Rejection.memoryLabel
    pending.tell(.rejected(rejection, of: key))
    enter(.rejected, key, reason: rejection.message, now: now)
  }

  /// Back to waiting for the loader: what was read is not what is there.
  mutating func waitAgain(_ key: VersionKey, now: Moment) {
    records[key]?.attempted = nil
    enter(.verifying, key, now: now, isTold: false)
    if let record = records[key], let bundle = record.bundle { judgeByHeader(bundle, record, now: now) }
  }

  /// Memory came free: what was refused for want of it need not wait for its next try.
  mutating func retryWhatLackedMemory() {
    for (key, record) in records where record.lacksMemory && record.lifecycle.state == .rejected {
      records[key]?.lacksMemory = false
      records[key]?.attempted = nil
      records[key]?.retryAt = nil
    }
  }

  /// Changes a version's state, or the reason for it.
  /// - Parameter isTold: whether this is news; false also where it is told later.
  mutating func enter(
    _ state: VersionState, _ key: VersionKey, reason: String = "", now: Moment, isTold: Bool = true
  ) {
    guard records[key]?.lifecycle.enter(state, reason: reason, now: now) == true, isTold else { return }
    tellState(of: key)
  }

  mutating func tellState(of key: VersionKey) {
    guard let lifecycle = records[key]?.lifecycle else { return }
    pending.tell(
      .state(LifecycleEvent(model: key.model, version: key.version, state: lifecycle.state, reason: lifecycle.reason)))
  }
}
