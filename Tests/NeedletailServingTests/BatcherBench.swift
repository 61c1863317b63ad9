import Glibc
import NeedletailCore
import NeedletailEngine
import NeedletailMetrics
import NeedletailModels

@testable import NeedletailServing

/// One batcher with its surroundings, and calls made from Swift arrays.
final class BatcherBench {
  let metrics = MetricsRegistry(shards: 1)
  let registry = ModelRegistry(readers: 1)
  let writer = RecordingWriter()
  let batcher: TickBatcher<RecordingWriter>

  let workers: WorkerPool?
  private let background: BackgroundRunner
  /// The loop, and the workers.
  private let threads: Int

  /// - Parameters:
  ///   - workers: threads for expensive plans; 0: there are none.
  ///   - isStarted: whether they run at once, or when the test starts them.
  ///   - cache: which answers are kept; nil: none.
  ///   - keeping: makes what keeps calls.
  init(
    rowsMax: Int = 4096, workers: Int = 0, isStarted: Bool = true, cache: CacheOptions? = nil,
    keeping: (MetricsRegistry) -> CallKeeping = { _ in CallKeeping() }
  ) {
    let counters = ServingCounters(metrics: metrics)
    background = BackgroundRunner(metrics: metrics)
    self.workers = workers == 0 ? nil : WorkerPool(.init(workers: workers), firstShard: 1)
    threads = 1 + workers
    batcher = TickBatcher(
      reader: registry.reader(0), counters: counters, shard: 0, rowsMax: rowsMax, background: background,
      keeping: keeping(metrics),
      cache: cache.flatMap { [metrics] in
        ResponseCache($0, loops: 1, seed: 7, counters: CacheCounters(metrics: metrics), shard: 0)
      },
      workers: self.workers.map { ($0, Mailbox {}) }, now: writer.time)
    if isStarted { self.workers?.start() }
  }

  func stop() { workers?.stop() }

  /// - Parameter planRows: rows that one run computes.
  func live(
    _ definition: ModelDefinition, model: String = "m", version: UInt64 = 1, planRows: Int = 256,
    warmUp: [WarmUpRun] = [], drift: DriftBaseline? = nil,
    onRelease: @escaping @Sendable (RetiredMemory) -> Void = { _ in },
    onHandOver: @escaping @Sendable (LiveModel) -> Void = { _ in }
  ) throws -> LiveModel {
    var options = PlanOptions()
    options.rowsMax = planRows
    let id = try ModelID(model)
    let number = ModelVersion(version)!
    let compiled = try CompiledModel(definition, options: options)
    return LiveModel(
      model: id, version: number, compiled: compiled, digest: "", signer: "",
      createdMilliseconds: 0, trainingMetrics: [:], lineage: nil, drift: drift,
      watch: drift.flatMap { VersionWatch(compiled, baseline: $0, seconds: 3600) }, warmUp: warmUp,
      counters: ModelCounters(model: id, version: number, compiled: compiled, metrics: metrics),
      workspaces: try WorkspaceSet(compiled.plan, threads: threads), residentBytes: 0, onRelease: onRelease,
      onHandOver: onHandOver)
  }

  /// Makes these all that is live; the first serves.
  func publish(_ models: LiveModel...) {
    registry.publish(
      ModelTable([ModelTable.Entry(model: models[0].model, live: models, serving: models[0].version)]))
  }

  /// Makes two versions live, of which one answers and the other, the newer one, gets copies.
  func publish(_ answering: LiveModel, shadow: LiveModel) {
    registry.publish(
      ModelTable([
        ModelTable.Entry(
          model: answering.model, live: [shadow, answering], serving: answering.version,
          routing: ModelRouting(shadow: shadow.version))
      ]))
    meet(answering)
  }

  /// Lets the loop meet a version, and the background threads prepare what its copies need.
  func meet(_ version: LiveModel) {
    Array(version.model.name.utf8).withUnsafeBytes { name in
      let deadline = Deadline(arrival: writer.time, timeoutMicroseconds: 0)
      _ = decide(CallHead(deadline: deadline, model: name, selector: .serving, rows: 1))
    }
    run()
    while !background.isPrepared { usleep(100) }
  }

  /// Decides about a call with one dense matrix, and binds it if it is admitted.
  func call(
    _ id: UInt64, _ rows: [[Float]], model: String = "m", version: UInt64? = nil, outputs: [String] = [],
    timeoutMicroseconds: UInt32 = 0, receiveMicroseconds: UInt32 = 0,
    priority: CallPriority = .interactive, key: String = ""
  ) {
    let values = rows.flatMap { $0 }
    let shape = [UInt64(rows.count), UInt64(rows.first?.count ?? 0)]
    let outputBytes = outputs.map { Array($0.utf8) }
    let joined = outputBytes.flatMap { $0 }
    Array("features".utf8).withUnsafeBytes { name in
      Array(model.utf8).withUnsafeBytes { modelName in
        values.withUnsafeBytes { data in
          shape.withUnsafeBufferPointer { shape in
            joined.withUnsafeBytes { joined in
              var start = 0
              let names = outputBytes.map { bytes in
                defer { start += bytes.count }
                return UnsafeRawBufferPointer(rebasing: joined[start..<start + bytes.count])
              }
              let tensor = TensorView(
                name: name, type: .float32, shape: shape, data: data)
              names.withUnsafeBufferPointer { names in
                withUnsafePointer(to: tensor) { tensor in
                  let deadline = Deadline(arrival: writer.time, timeoutMicroseconds: timeoutMicroseconds)
                  let head = CallHead(
                    deadline: deadline, model: modelName, selector: version.map { .version($0) } ?? .serving,
                    priority: priority, rows: UInt64(rows.count))
                  let address = ReplyAddress(slot: 0, generation: 0, id: id)
                  let decision = batcher.decide(head, into: writer)
                  if case .reject(let error) = decision.outcome { return writer.reject(address, error) }
                  var call = PredictCall(
                    address: address, arrival: writer.time, receiveMicroseconds: receiveMicroseconds,
                    deadline: deadline, priority: priority,
                    tensors: UnsafeBufferPointer(start: tensor, count: 1), outputs: names)
                  call.isSelected = version != nil
                  Array(key.utf8).withUnsafeBytes { key in
                    call.name = key
                    batcher.bind(call, decision, into: writer)
                  }
                }
              }
            }
          }
        }
      }
    }
  }

  /// Decides about a call without binding it.
  func decide(_ head: CallHead) -> (error: ServingError?, readPauseNanoseconds: UInt64) {
    let decision = batcher.decide(head, into: writer)
    guard case .reject(let error) = decision.outcome else { return (nil, decision.readPauseNanoseconds) }
    return (error, decision.readPauseNanoseconds)
  }

  func run() { batcher.run(into: writer) }

  func requests(_ model: LiveModel, _ status: StatusCode) -> UInt64 { model.counters.requests(status).value }
}
