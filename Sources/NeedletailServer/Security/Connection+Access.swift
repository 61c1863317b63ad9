internal import Logging
internal import NeedletailMetrics
internal import NeedletailCore
internal import NeedletailSecurity
internal import NeedletailWire

extension Connection {
  /// Takes the key that a client shows, and answers whose it is.
  func authenticate(id: UInt64, key: UnsafeRawBufferPointer) {
    guard let ring = loop.keys else {
      refuse(id: id, .unimplemented("authenticate: this server asks for no keys"))
      return
    }
    do throws(AccessRefusal) {
      let name = try access.authenticate(key, ring)
      state.authenticate()
      loop.accessCounters.authenticated.add(shard: loop.shard)
      answerAuthenticated(id: id, principal: name)
    } catch {
      loop.accessCounters.rejectedKey(error.reason).add(shard: loop.shard)
      loop.logger.debug("key refused", metadata: ["reason": "\(error.reason.rawValue)"])
      refuse(id: id, error.error)
      if access.isExhausted { giveUp() }
    }
  }

  /// The peer showed a certificate that the client CA issued.
  func present(certificate names: [String]) {
    guard let ring = loop.keys else { return }
    access.present(certificate: names, ring)
    if access.isAuthenticated {
      state.authenticate()
      loop.accessCounters.authenticated.add(shard: loop.shard)
    }
  }

  /// Whether a call may run; if not, its caller has been told. The one check of every call: on the way
  /// of an allowed one it compares a few fields.
  func isAdmitted(
    _ id: UInt64, _ call: AccessCalls, model: UnsafeRawBufferPointer = .init(start: nil, count: 0), rows: UInt64 = 0,
    now: Instant
  ) -> Bool {
    renewAccess()
    do throws(AccessRefusal) {
      try access.admit(call, model: model, rows: rows, loop.keys, now: now)
      return true
    } catch {
      loop.accessCounters.refusedCall(error.reason).add(shard: loop.shard)
      refuse(id: id, error.error)
      return false
    }
  }

  /// Whether a predict call's caller may hear of the model it names.
  func mayHear(of model: UnsafeRawBufferPointer) -> Bool {
    renewAccess()
    return access.reaches(.predict, model: model)
  }

  /// What the caller may be told of an error.
  func told(_ error: ServingError) -> ServingError { error.showing(access.visibleModels) }

  /// Keys may have changed since the last call.
  private func renewAccess() {
    if access.generation != loop.keysGeneration, let ring = loop.keys { access.renew(ring) }
  }

  /// What a frame that cannot be read is answered with.
  func fault(of error: FrameError) -> ServingError {
    guard access.isAuthenticated else {
      return .unauthenticated("authenticate: expected an API key before any other call, found a frame: \(error)")
    }
    return .invalidArgument(error.description)
  }
}

extension ServingError {
  /// Without the suggestion of a model that the caller may not know of.
  /// - Parameter models: those that it may know of; nil: all.
  func showing(_ models: [NamePattern]?) -> ServingError {
    guard let suggestedModel, let models, !models.contains(where: { $0.matches(suggestedModel) }) else { return self }
    return withoutSuggestion
  }
}
