internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels

/// What one loop keeps for one live version: scratch for its plan, and the calls bound in it since the
/// last run. Reused from tick to tick; dropped when the version has left the table.
final class ModelBatch<Encoder: AnyObject> {
  let model: LiveModel
  let plan: Plan
  let encoder: Encoder
  let workspace: Workspace
  let pointers: OutputPointers
  private var copies = ShadowCopies()
  /// Bytes that one row of each output takes in an answer, at most.
  private let answerBytesPerRow: [Int]
  /// Where its calls wait for workers; nil until one does.
  private(set) var lane: WorkerLane?
  private var pool: WorkerPool?
  /// Calls that are with the workers.
  var callsOut = 0
  /// Outputs of a call of more rows than one run takes.
  var collected = FloatRoom()
  private(set) var jobs: [PredictJob] = []
  /// Rows bound and not yet run.
  private(set) var rows = 0

  init(_ model: LiveModel, encoder: Encoder) {
    self.model = model
    plan = model.compiled.plan
    self.encoder = encoder
    workspace = Workspace(plan)
    pointers = OutputPointers(plan, workspace: workspace)
    let labelBytesMax = model.compiled.definition.labels.reduce(0) { max($0, $1.utf8.count) }
    answerBytesPerRow = plan.outputs.map { output in
      switch output.kind {
      case .number: output.columns * MemoryLayout<Float>.size
      case .classIndex: MemoryLayout<Int64>.size
      // A tag and up to five bytes of length stand before each text.
      case .classLabel: labelBytesMax + 6
      }
    }
    jobs.reserveCapacity(64)
  }

  /// Connects with the version that is to get copies, or cuts the connection.
  func connect(shadow: LiveModel?, _ runner: ShadowRunner) { copies.connect(model, to: shadow, runner) }

  /// Computes what was bound.
  func compute(shard: Int) {
    copies.takeInput(workspace, rows: rows, shard: shard)
    plan.run(workspace, rows: rows)
  }

  /// Keeps what was answered for the shadow version: after the answers, before the next run.
  func keepForShadow() { copies.takeOutputs(workspace) }

  /// Keeps a call that a worker computed, with its answer.
  func keepForShadow(_ call: QueuedCall, _ outputs: UnsafeBufferPointer<UnsafePointer<Float>>, shard: Int) {
    copies.take(
      input: call.input, outputs: outputs, selection: call.selection, rows: call.rows, shard: shard)
  }

  /// Hands over what was kept.
  func sendToShadow() { copies.send() }

  /// A call that was computed by itself goes without.
  func skipShadow(rows: Int, shard: Int) { copies.skip(rows: rows, shard: shard) }

  deinit {
    if let lane { pool?.release(lane) }
  }

  /// Enters the queue of the version's calls for workers.
  func join(_ lane: WorkerLane, of pool: WorkerPool) {
    self.lane = lane
    self.pool = pool
  }

  /// Rows that still fit.
  var room: Int { plan.rowsMax - rows }

  /// Where the next row is bound.
  var nextRow: UnsafeMutablePointer<Float> { workspace.input + rows * plan.inputColumns }

  /// Takes a call whose rows were bound at ``nextRow``.
  func append(_ job: PredictJob) {
    assert(job.firstRow == rows && job.rows <= room)
    jobs.append(job)
    rows += job.rows
  }

  /// Forgets the jobs, keeps their memory.
  func removeAll() {
    jobs.removeAll(keepingCapacity: true)
    rows = 0
  }

  /// Keeps the jobs whose deadline lies ahead and moves their rows together, so that nothing is
  /// computed in vain; the others go to `expired`.
  func dropExpired(at now: Instant, expired: (PredictJob) -> Void) {
    guard jobs.contains(where: { $0.deadline.hasPassed(at: now) }) else { return }
    let columns = plan.inputColumns
    var kept = 0
    var row = 0
    for index in jobs.indices {
      var job = jobs[index]
      if job.deadline.hasPassed(at: now) {
        expired(job)
        continue
      }
      if job.firstRow != row {
        (workspace.input + row * columns)
          .update(from: workspace.input + job.firstRow * columns, count: job.rows * columns)
        job.firstRow = row
      }
      jobs[kept] = job
      kept += 1
      row += job.rows
    }
    jobs.removeLast(jobs.count - kept)
    rows = row
  }

  /// Bytes of an answer of `rows` rows, at most, without its names.
  func answerBytes(rows: Int, selection: UInt64) -> Int {
    var bytes = 0
    for index in answerBytesPerRow.indices where selection & (1 << UInt64(index)) != 0 {
      bytes += answerBytesPerRow[index] * rows
    }
    return bytes
  }

  /// Counts numbers that are none among the outputs just computed.
  func countNonFinite(rows: Int, shard: Int) {
    let found = plan.nonFiniteOutputs(workspace, rows: rows)
    if found > 0 { model.counters.nonFinite.add(UInt64(found), shard: shard) }
  }
}
