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
    if configuration.tls != nil { features.append("tls") }
    if configuration.http != nil { features.append("open_inference") }
    features.sort()
    let set = configuration.limits
    func bytes(_ count: Int) -> UInt64 { UInt64(clamping: count) }
    limits.requestBytesMax = bytes(set.frameBytesMax)
    limits.answerBytesMax = bytes(Limits.answerBytesMax)
    limits.rowsMax = bytes(set.batchRowsMax)
    limits.callsInFlightMax = bytes(set.callsInFlightMax)
    limits.otherCallsInFlightMax = bytes(Limits.controlCallsInFlightMax)
    limits.tensorsMax = bytes(Limits.inputTensorsMax)
    limits.dimensionsMax = bytes(Limits.tensorRankMax)
    limits.outputNamesMax = bytes(Limits.outputNamesMax)
    limits.routingKeyBytesMax = bytes(Limits.routingKeyBytesMax)
    limits.textBytesMax = bytes(configuration.textBytesMax)
    limits.outputBytesMax = bytes(set.outputBytesMax)
    limits.idleMilliseconds = UInt64(clamping: set.idle.components.seconds * 1000)
  }
}
