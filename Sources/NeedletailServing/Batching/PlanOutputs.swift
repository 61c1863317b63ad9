internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailModels

/// One pointer per output of a plan, as encoders take them. The pointers are set anew before each answer.
struct OutputPointers: ~Copyable {
  private let plan: Plan
  private let pointers: UnsafeMutableBufferPointer<UnsafePointer<Float>>

  init(_ plan: Plan, workspace: borrowing Workspace) {
    self.plan = plan
    pointers = .allocate(capacity: plan.outputs.count)
    for index in plan.outputs.indices { pointers.initializeElement(at: index, to: workspace.output(index)) }
  }

  deinit {
    pointers.deinitialize()
    pointers.deallocate()
  }

  /// Points at row `row` of the workspace's outputs.
  borrowing func point(at workspace: borrowing Workspace, row: Int) -> UnsafeBufferPointer<UnsafePointer<Float>> {
    for index in plan.outputs.indices {
      pointers[index] = workspace.output(index) + row * plan.outputs[index].floatsPerRow
    }
    return UnsafeBufferPointer(pointers)
  }

  /// Points at the outputs that ``Plan/collect(_:from:count:selection:into:at:of:)`` gathered for `rows` rows.
  borrowing func point(
    at collected: UnsafePointer<Float>, rows: Int, selection: UInt64
  ) -> UnsafeBufferPointer<UnsafePointer<Float>> {
    var start = collected
    for index in plan.outputs.indices {
      pointers[index] = start
      if selection.selects(index) { start += rows * plan.outputs[index].floatsPerRow }
    }
    return UnsafeBufferPointer(pointers)
  }
}

extension PlanOutput {
  /// Floats of one row; a class is one index.
  var floatsPerRow: Int { kind == .number ? columns : 1 }
}

extension UInt64 {
  /// Whether a set of outputs, one bit each, holds this output.
  func selects(_ output: Int) -> Bool { self >> UInt64(output) & 1 == 1 }
}

extension Plan {
  /// Largest batch of one run.
  var extentMax: BatchExtent { BatchExtent(rows: rowsMax) }

  /// Floats that one row of the outputs in `selection` takes.
  func collectedFloatsPerRow(_ selection: UInt64) -> Int {
    var floats = 0
    for index in outputs.indices where selection.selects(index) { floats += outputs[index].floatsPerRow }
    return floats
  }

  /// Copies the outputs of `count` rows, from row `first` on, out of a workspace. Answers that do not stay in a
  /// workspace until they are encoded lie output after output, each with all rows of its call; outputs that nobody
  /// asked for are left out.
  /// - Parameters:
  ///   - collected: memory for `rows` rows of the outputs in `selection`.
  ///   - row: row of the call that corresponds to the workspace's row `first`.
  ///   - rows: rows of the whole call.
  func collect(
    _ workspace: borrowing Workspace, from first: Int, count: Int, selection: UInt64,
    into collected: UnsafeMutablePointer<Float>, at row: Int, of rows: Int
  ) {
    var start = collected
    for index in outputs.indices where selection.selects(index) {
      let width = outputs[index].floatsPerRow
      (start + row * width).update(from: workspace.output(index) + first * width, count: count * width)
      start += rows * width
    }
  }

  /// Number of NaN and infinite values among the outputs of a run.
  func nonFiniteOutputs(_ workspace: borrowing Workspace, rows: Int) -> Int {
    var found = 0
    for index in outputs.indices where outputs[index].kind == .number {
      found += NonFinite.count(workspace.output(index), count: rows * outputs[index].columns)
    }
    return found
  }
}

extension PlanCost {
  /// Estimated time of a batch of this extent. Warming measures batches by their units.
  func nanoseconds(of extent: BatchExtent) -> UInt64 { nanoseconds(rows: extent.units) }

  /// Estimated time that a call of this extent adds to a batch that runs anyway.
  func marginalNanoseconds(of extent: BatchExtent) -> UInt64 { marginalNanoseconds(rows: extent.units) }
}

/// Memory for floats that grows to its largest use and is kept from one use to the next. Confined to its owner.
struct ScratchBuffer: ~Copyable {
  private(set) var floats = UnsafeMutableBufferPointer<Float>(start: nil, count: 0)
  private var wasUsed = false

  deinit { floats.deallocate() }

  /// Memory for `count` floats; earlier contents are lost.
  mutating func reserve(_ count: Int) -> UnsafeMutablePointer<Float> {
    wasUsed = true
    if floats.count < max(count, 1) {
      floats.deallocate()
      floats = .allocate(capacity: max(count, 1))
    }
    guard let start = floats.baseAddress else {
      preconditionFailure("a scratch buffer of \(floats.count) floats has no address")
    }
    return start
  }

  /// Frees the memory if it was not used since the last call.
  mutating func trim() {
    if !wasUsed {
      floats.deallocate()
      floats = UnsafeMutableBufferPointer(start: nil, count: 0)
    }
    wasUsed = false
  }
}
