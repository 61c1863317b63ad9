internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailWire

extension ServerInfoReport {
  /// What a server with this configuration says of itself. `proto/README.md` lists the features.
  init(_ configuration: ServerConfiguration) {
    self.init()
    name = "needletail"
    version = needletailVersion
    isa = InstructionSet.selected.rawValue
    features = ["bulk", "error_detail", "events", "rollout", "text"]
    if configuration.apiKeys != nil { features.append("authentication") }
    if configuration.feedbackRules != nil { features.append("feedback") }
    if configuration.tls != nil { features.append("tls") }
    if configuration.http != nil { features.append("open_inference") }
    if configuration.tracing != nil { features.append("tracing") }
    features.sort()
    let set = configuration.limits
    func number(_ count: Int) -> UInt64 { UInt64(clamping: count) }
    limits.requestBytesMax = number(set.frameBytesMax)
    limits.answerBytesMax = number(Limits.answerBytesMax)
    limits.rowsMax = number(set.batchRowsMax)
    limits.callsInFlightMax = number(set.callsInFlightMax)
    limits.otherCallsInFlightMax = number(Limits.controlCallsInFlightMax)
    limits.tensorsMax = number(Limits.inputTensorsMax)
    limits.dimensionsMax = number(Limits.tensorRankMax)
    limits.outputNamesMax = number(Limits.outputNamesMax)
    limits.routingKeyBytesMax = number(Limits.routingKeyBytesMax)
    limits.textBytesMax = number(configuration.textBytesMax)
    limits.outputBytesMax = number(set.outputBytesMax)
    limits.idleMilliseconds = UInt64(clamping: set.idle.components.seconds * 1000)
  }
}
