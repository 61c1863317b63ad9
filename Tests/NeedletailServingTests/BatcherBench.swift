import NeedletailCore
import NeedletailEngine
import NeedletailMetrics
import NeedletailModels
import NeedletailServing

/// One batcher with all that it needs, and calls from Swift arrays.
final class BatcherBench {
  let metrics = MetricsRegistry(shards: 1)
  let registry = ModelRegistry(readers: 1)
  let sink = RecordingSink()
  let batcher: TickBatcher<RecordingSink>

  let workers: WorkerPool?

  /// - Parameters:
  ///   - workers: threads for expensive plans; 0: there are none.
  ///   - isStarted: whether they run at once, or when the test starts them.
  init(rowsMax: Int = 4096, workers: Int = 0, isStarted: Bool = true) {
    let counters = ServingCounters(metrics: metrics)
    let shadows = ShadowRunner(metrics: metrics)
    self.workers = workers == 0 ? nil : WorkerPool(.init(workers: workers), counters: counters, firstShard: 1)
    batcher = TickBatcher(
      reader: registry.reader(0), counters: counters, shard: 0, rowsMax: rowsMax, shadows: shadows,
      workers: self.workers.map { ($0, Mailbox {}) }, now: sink.time)
    if isStarted { self.workers?.start() }
  }

  func stop() { workers?.stop() }

  /// - Parameter planRows: rows that one run computes.
  func live(
    _ definition: ModelDefinition, model: String = "m", version: UInt64 = 1, planRows: Int = 256,
    warmUp: [WarmUpRun] = []
  ) throws -> LiveModel {
    var options = PlanOptions()
    options.rowsMax = planRows
    let id = try ModelID(model)
    let number = ModelVersion(version)!
    return LiveModel(
      model: id, version: number, compiled: try CompiledModel(definition, options: options), digest: "", signer: "",
      createdMilliseconds: 0, trainingMetrics: [:], lineage: nil, drift: nil, warmUp: warmUp,
      counters: ModelCounters(model: id, version: number, metrics: metrics))
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
  }

  /// A call with one dense matrix.
  func call(
    _ id: UInt64, _ rows: [[Float]], model: String = "m", version: UInt64? = nil, outputs: [String] = [],
    timeoutMicroseconds: UInt32 = 0, receiveMicroseconds: UInt32 = 0,
    priority: CallPriority = .interactive
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
                name: name, type: .float32, shape: shape, data: data,
                strings: UnsafeBufferPointer(start: nil, count: 0))
              names.withUnsafeBufferPointer { names in
                withUnsafePointer(to: tensor) { tensor in
                  batcher.admit(
                    PredictCall(
                      address: ReplyAddress(slot: 0, generation: 0, id: id), arrival: sink.time,
                      receiveMicroseconds: receiveMicroseconds, timeoutMicroseconds: timeoutMicroseconds,
                      model: modelName,
                      selector: version.map { .version($0) } ?? .serving,
                      tensors: UnsafeBufferPointer(start: tensor, count: 1), outputs: names, priority: priority),
                    into: sink)
                }
              }
            }
          }
        }
      }
    }
  }

  func run() { batcher.run(into: sink) }

  func requests(_ model: LiveModel, _ status: StatusCode) -> UInt64 { model.counters.requests(status).value }
}
