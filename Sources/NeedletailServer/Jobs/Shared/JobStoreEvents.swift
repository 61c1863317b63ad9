internal import NeedletailModels
internal import NeedletailRedis

extension EventLog {
  /// Says what became of the shared store of jobs.
  func emit(_ event: RedisJobStore.Event) {
    switch event {
    case .up: emit(.server, .info, "the shared store of jobs answers")
    case .down(let reason):
      emit(.server, .warning, "the shared store of jobs does not answer", [.init("reason", reason)])
    case .refused(let reason):
      emit(.server, .warning, "the shared store of jobs refused a command", [.init("reason", reason)])
    }
  }
}
