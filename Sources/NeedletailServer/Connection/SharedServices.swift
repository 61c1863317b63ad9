internal import Logging
internal import NeedletailMetrics
internal import NeedletailServing

/// What all loops share.
struct SharedServices: Sendable {
  let logger: Logger
  let control: ControlPlane
  let metrics: MetricsRegistry
  let gate: ConnectionGate
  let outputBudget: OutputBudget
  /// Nil: every plan runs on the loops.
  let workers: WorkerPool?
  let connectionCounters: ConnectionCounters
  let servingCounters: ServingCounters
  let shadows: ShadowRunner
  let accessCounters: AccessCounters
  let tlsCounters: TLSCounters
  /// Nil: everybody may call.
  let keys: KeySource?
}
