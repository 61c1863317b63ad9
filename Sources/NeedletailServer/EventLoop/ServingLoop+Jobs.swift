internal import NeedletailCore
internal import NeedletailSecurity
internal import NeedletailWire

/// Calls about jobs. They are authorised as predict calls; that of a job counts as one call, whatever its rows.
extension ServingLoop {
  func takeJob(_ call: JobCall, _ connection: Connection) {
    guard let jobs = context.jobs else {
      if case .submit(let upload) = call { JobUpload.drop(upload) }
      return connection.reject(
        id: call.callID, .unimplemented("jobs: expected none, for jobs.count_max of this server is 0"))
    }
    do throws(ServingError) {
      switch call {
      case .begin(let head):
        try checkGrant(of: head.model.model, connection)
        connection.codec.accept(try jobs.begin(head))
      case .submit(let upload):
        do throws(ServingError) {
          try checkGrant(of: upload.head.model.model, connection)
          try charge(connection)
        } catch {
          JobUpload.drop(upload)
          throw error
        }
        answer(call.callID, connection) { caller in await jobs.submit(upload, caller: caller) }
      case .ask(let question, let id, _):
        try checkGrant(of: "", connection)
        try charge(connection)
        answer(call.callID, connection) { caller in await jobs.answer(question, about: id, caller: caller) }
      }
    } catch {
      connection.reject(id: call.callID, error)
    }
  }

  private func checkGrant(of model: String, _ connection: Connection) throws(ServingError) {
    var model = model
    let error = model.withUTF8 {
      access.denial(of: .predict, model: UnsafeRawBufferPointer($0), &connection.access)
    }
    if let error { throw error }
  }

  private func charge(_ connection: Connection) throws(ServingError) {
    if let error = access.charge(to: &connection.access, now: time) { throw error }
  }

  /// Has a call answered off the loop.
  private func answer(
    _ id: UInt64, _ connection: Connection, by body: @escaping @Sendable (_ caller: String) async -> JobAnswer
  ) {
    guard acceptControl(id: id, connection) else { return }
    let address = connection.address
    let caller = connection.caller.name
    let visible = connection.access.visibleModels
    Task { [self] in
      var answer = await body(caller)
      if case .error(let error, let status) = answer { answer = .error(error.showing(visible), status: status) }
      execute { [self, answer] in
        guard let connection = connections[address] else { return }
        connection.answerJob(id: id, answer, now: now())
        connections.markDirty(address)
      }
    }
  }
}
