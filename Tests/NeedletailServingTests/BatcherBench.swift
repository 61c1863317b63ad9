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

  init(rowsMax: Int = 4096) {
    batcher = TickBatcher(
      reader: registry.reader(0), counters: ServingCounters(metrics: metrics), shard: 0, rowsMax: rowsMax)
  }

  /// - Parameter planRows: rows that one run computes.
  func live(_ definition: ModelDefinition, model: String = "m", version: UInt64 = 1, planRows: Int = 256) throws
    -> LiveModel
  {
    var options = PlanOptions()
    options.rowsMax = planRows
    let id = try ModelID(model)
    let number = ModelVersion(version)!
    return LiveModel(
      model: id, version: number, compiled: try CompiledModel(definition, options: options), digest: "", signer: "",
      createdMilliseconds: 0, trainingMetrics: [:], lineage: nil, drift: nil, warmUp: [],
      counters: ModelCounters(model: id, version: number, metrics: metrics))
  }

  /// Makes these all that is live; the first serves.
  func publish(_ models: LiveModel...) {
    registry.publish(
      ModelTable([ModelTable.Entry(model: models[0].model, live: models, serving: models[0].version)]))
  }

  /// A call with one dense matrix.
  func call(
    _ id: UInt64, _ rows: [[Float]], model: String = "m", version: UInt64? = nil, outputs: [String] = [],
    timeoutMicroseconds: UInt32 = 0, receiveMicroseconds: UInt32 = 0
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
                      tensors: UnsafeBufferPointer(start: tensor, count: 1), outputs: names),
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
