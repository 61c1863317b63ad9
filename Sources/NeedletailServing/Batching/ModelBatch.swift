internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels

/// One loop's state for one live version: the calls bound in the loop's scratch for it since the last run. Reused from
/// tick to tick; dropped when the version has left the table. The scratch is the version's: dropping a batch frees none.
public final class ModelBatch<Schema: AnyObject> {
  let model: LiveModel
  let plan: Plan
  let schema: Schema
  private let scratch: WorkspaceSet.Member
  let pointers: OutputPointers
  private var copies = ShadowCopies()
  private let watched: WatchCopies
  /// Captures calls; nil: no rule is about the version.
  let capture: CaptureTap?
  /// Remembers predictions; nil: nobody does.
  let feedback: FeedbackTap?
  let answerSize: AnswerSize
  /// Lane in which its calls wait for workers; nil until the first one does.
  private(set) var lane: WorkerLane?
  private var pool: WorkerPool?
  /// Number of its calls that are with the workers.
  var callsOut = 0
  /// Outputs of a call of more rows than one run takes.
  var collected = ScratchBuffer()
  private(set) var calls: [BoundCall] = []
  /// Extent of what is bound and not yet run.
  private(set) var extent = BatchExtent.zero
  /// Bytes of the texts that are bound and not yet run.
  private var textBytes = 0
  /// Whether it stands in the batcher's list of batches to run.
  var isListed = false
  /// Generation of the table that its shadow was taken from.
  var generation: UInt64 = 0
  private var runs = CostScale.Window()
  /// Number by which the loop's cache knows the version; 0: its answers are not kept.
  var cacheVersion: UInt32 = 0

  /// - Parameters:
  ///   - shard: index of the loop among the version's workspaces.
  ///   - background: counts what the version answers; nil: nobody does.
  ///   - capture: captures its calls.
  ///   - feedback: remembers its predictions.
  init(
    _ model: LiveModel, schema: Schema, shard: Int, background: BackgroundRunner?, capture: CaptureTap? = nil,
    feedback: FeedbackTap? = nil
  ) {
    self.model = model
    self.capture = capture
    self.feedback = feedback
    plan = model.compiled.plan
    self.schema = schema
    scratch = model.workspaces[shard]
    pointers = OutputPointers(plan, workspace: scratch.workspace)
    answerSize = AnswerSize(model)
    watched = WatchCopies(model, background)
    calls.reserveCapacity(64)
  }

  deinit {
    if let lane { pool?.release(lane) }
  }

  // MARK: calls

  /// - Parameter bytes: of the texts of the call.
  func hasRoom(for added: BatchExtent, textBytes bytes: Int) -> Bool {
    (extent + added).fits(in: plan.extentMax) && textBytes + bytes <= plan.textBytesMax
  }

  /// Binds all rows of a call behind those that are bound.
  func bind(_ tensors: UnsafeBufferPointer<TensorView>, rows: Int) throws(ServingError) {
    var memory = scratch.workspace.rows
    memory.items += extent.rows * plan.inputItemBytes
    memory.texts += extent.rows * plan.textItemBytes
    try model.compiled.binder.bind(tensors, rows: 0..<rows, into: memory, textBytesUsed: &textBytes)
  }

  /// Forgets rows that were bound last and will not be computed.
  /// - Parameter bytes: of their texts.
  func unbind(textBytes bytes: Int) { textBytes -= bytes }

  /// Rows that are bound and not yet run, and room for more.
  var boundRows: RowMemory { scratch.workspace.rows }

  /// Whether somebody wants to see the rows of the next run, and what comes of them.
  var mustCompute: Bool { copies.isConnected || watched.isOpen }

  /// Adds a call whose rows were bound.
  func append(_ call: BoundCall) {
    assert(call.firstRow == extent.rows && hasRoom(for: call.extent, textBytes: 0))
    calls.append(call)
    extent += call.extent
  }

  /// Forgets the calls and keeps their memory.
  func removeAll() {
    calls.removeAll(keepingCapacity: true)
    extent = .zero
    textBytes = 0
  }

  /// Keeps the calls whose deadline lies ahead and moves their rows together, so that no expired call is
  /// computed; the other calls go to `expired`.
  func dropExpired(at now: Instant, expired: (BoundCall) -> Void) {
    guard calls.contains(where: { $0.deadline.hasPassed(at: now) }) else { return }
    let rows = scratch.workspace.rows
    var kept = 0
    var keptExtent = BatchExtent.zero
    for index in calls.indices {
      var call = calls[index]
      if call.deadline.hasPassed(at: now) {
        expired(call)
        continue
      }
      if call.firstRow != keptExtent.rows {
        plan.copyRows(from: rows, at: call.firstRow, count: call.extent.rows, to: rows, at: keptExtent.rows)
        call.firstRow = keptExtent.rows
      }
      calls[kept] = call
      kept += 1
      keptExtent += call.extent
    }
    calls.removeLast(calls.count - kept)
    extent = keptExtent
  }

  /// Computes what was bound.
  func compute(shard: Int) {
    copies.takeInput(scratch.workspace, rows: extent.rows, shard: shard)
    watched.takeInput(scratch.workspace, rows: extent.rows, shard: shard)
    feedback?.takeGroups(scratch.workspace.rows, rows: extent.rows)
    plan.run(scratch.workspace, extent)
  }

  /// Notes how long a run took.
  func ran(_ extent: BatchExtent, nanoseconds: UInt64) {
    runs.add(estimated: model.cost.nanoseconds(rows: extent.units), measured: nanoseconds, to: model.costScale)
  }

  /// Computes as many rows of a call that is too large for one run as a run takes.
  ///
  /// - Returns: how many rows, from `first` on.
  func compute(
    from first: Int, of rows: Int, _ tensors: UnsafeBufferPointer<TensorView>
  ) throws(ServingError) -> Int {
    let binder = model.compiled.binder
    let count = binder.rowsOfRun(tensors, from: first, of: rows, for: plan)
    var used = 0
    try binder.bind(tensors, rows: first..<first + count, into: scratch.workspace.rows, textBytesUsed: &used)
    plan.run(scratch.workspace, rows: count)
    if let error = plan.textError(scratch.workspace, rows: 0..<count, first: first) { throw error }
    return count
  }

  /// Copies the outputs of `count` rows; see ``Plan/collect(_:from:count:selection:into:at:of:)``.
  func collect(
    from first: Int = 0, count: Int, selection: UInt64, into collected: UnsafeMutablePointer<Float>, at row: Int,
    of rows: Int
  ) {
    plan.collect(scratch.workspace, from: first, count: count, selection: selection, into: collected, at: row, of: rows)
  }

  /// Outputs of the last run, from `row` on.
  func outputs(from row: Int) -> UnsafeBufferPointer<UnsafePointer<Float>> {
    pointers.point(at: scratch.workspace, row: row)
  }

  /// Error of a call whose texts the last run could not tokenise; nil: it tokenised all.
  func textError(_ call: BoundCall) -> ServingError? {
    plan.textError(scratch.workspace, rows: call.firstRow..<call.firstRow + call.extent.rows)
  }

  /// Number of NaN and infinite values among the outputs of some rows just computed.
  func nonFinite(from first: Int, rows: Int, _ selection: UInt64) -> Int {
    var found = 0
    for index in plan.outputs.indices where plan.outputs[index].kind == .number && selection.selects(index) {
      let columns = plan.outputs[index].columns
      found += NonFinite.count(scratch.workspace.output(index) + first * columns, count: rows * columns)
    }
    return found
  }

  /// Counts NaN and infinite values among the outputs just computed.
  func countNonFinite(rows: Int, shard: Int) {
    let found = plan.nonFiniteOutputs(scratch.workspace, rows: rows)
    if found > 0 { model.counters.nonFinite.add(UInt64(found), shard: shard) }
  }

  /// Counts rows of the last run by their classes.
  func countClasses(from row: Int, rows: Int, shard: Int) {
    model.counters.classes?.count(scratch.workspace, from: row, rows: rows, shard: shard)
  }

  // MARK: shadow and workers

  var isShadowed: Bool { copies.isConnected }

  /// Connects to the version that gets copies of the answers, or ends the connection.
  func connect(shadow: LiveModel?, _ runner: BackgroundRunner) { copies.connect(model, to: shadow, runner) }

  /// Keeps the answers for the shadow version and for live statistics: after they were written, before the next run.
  func keepAnswers() {
    copies.takeOutputs(scratch.workspace)
    watched.takeOutputs(scratch.workspace)
  }

  /// Keeps a call that a worker computed, with its answer.
  func keepAnswers(_ call: QueuedCall, _ outputs: UnsafeBufferPointer<UnsafePointer<Float>>, shard: Int) {
    let (rows, selection) = (call.extent.rows, call.selection)
    let input = plan.rowMemory(at: call.input, rows: rows)
    copies.take(input: input, outputs: outputs, selection: selection, rows: rows, shard: shard)
    watched.take(input: input, outputs: outputs, selection: selection, rows: rows, shard: shard)
    feedback?.remember(
      call.name, arrival: call.arrival, CapturedValues(values: outputs, selection: selection, rows: rows), input: input)
  }

  /// Whether anybody keeps the names of its calls.
  var keepsNames: Bool { capture != nil || feedback != nil }

  /// Hands over what was kept.
  func sendToShadow() { copies.send() }

  /// Counts the rows of a call that was computed by itself and of which the shadow gets no copy.
  func skipShadow(rows: Int, shard: Int) { copies.skip(rows: rows, shard: shard) }

  /// Enters the lane in which the version's calls wait for workers.
  func join(_ lane: WorkerLane, of pool: WorkerPool) {
    self.lane = lane
    self.pool = pool
  }
}
