internal import Logging
internal import NeedletailServing

/// What all loops share.
struct SharedServices: Sendable {
  let logger: Logger
  let control: ControlPlane
  let gate: ConnectionGate
  let connectionCounters: ConnectionCounters
  let servingCounters: ServingCounters
}
