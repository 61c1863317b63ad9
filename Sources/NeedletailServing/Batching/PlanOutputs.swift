internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailModels

/// One pointer per output of a plan, as encoders take them, and one to the places of the rows' texts where an output is
/// places in them. The pointers are set anew before each answer.
struct OutputPointers: ~Copyable {
  private let plan: Plan
  private let pointers: UnsafeMutableBufferPointer<UnsafePointer<Float>>

  init(_ plan: Plan, workspace: borrowing Workspace) {
    self.plan = plan
    pointers = .allocate(capacity: plan.outputs.count + (plan.spans == nil ? 0 : 1))
    for index in plan.outputs.indices { pointers.initializeElement(at: index, to: workspace.output(index)) }
    if plan.spans != nil {
      pointers.initializeElement(at: plan.outputs.count, to: Self.floats(workspace.rows.texts))
    }
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
    if plan.spans != nil {
      pointers[plan.outputs.count] = Self.floats(workspace.rows.texts + row * plan.textItemBytes)
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
    if plan.spans != nil { pointers[plan.outputs.count] = start }
    return UnsafeBufferPointer(pointers)
  }

  /// An address as encoders take it.
  private static func floats(_ address: UnsafeMutableRawPointer) -> UnsafePointer<Float> {
    UnsafePointer(address.assumingMemoryBound(to: Float.self))
  }
}

/// Upper bound of the bytes of a version's answers, whatever protocol they are sent in.
///
/// It is known before a call runs, so that a call whose answer cannot be sent is rejected and not computed. Numbers
/// count as they are, labels as the longest one, and parts of texts as these.
struct AnswerSize {
  private struct Output {
    /// Name, type, shape and lengths; 0 for an output that only its parts show.
    var fixedBytes: Int
    var rowBytes: Int
    /// Whether it has parts of the rows' texts, which do not overlap.
    var hasTexts: Bool
  }

  /// Lengths, ids and times of a frame, beside its names.
  private static let frameBytes = 64
  /// Lengths and shape of a tensor, beside its name.
  private static let tensorBytes = 48
  /// Key and length of a label.
  private static let labelBytes = 6

  private let outputs: [Output]
  private let fixedBytes: Int
  private let allFixedBytes: Int
  private let allRowBytes: Int
  private let hasTexts: Bool

  init(_ model: LiveModel) {
    let labelBytesMax = model.compiled.definition.labels.reduce(0) { max($0, $1.utf8.count) }
    let plan = model.compiled.plan
    let placesMax = plan.spans?.placesMax ?? 0
    outputs = plan.answerTensors.map { tensor in
      let form = tensor.form
      let rowBytes =
        switch form.content {
        case .source: 0
        case .output(.number), .part(.numbers): form.columns * MemoryLayout<Float>.size
        case .output(.classLabel): labelBytesMax + Self.labelBytes
        case .output(.classIndex): MemoryLayout<Int64>.size
        case .part(.label): placesMax * (labelBytesMax + Self.labelBytes)
        case .part(.text): placesMax * Self.labelBytes
        case .part: placesMax * form.type.elementBytes
        }
      return Output(
        fixedBytes: form.content == .source ? 0 : Self.tensorBytes + tensor.name.utf8.count, rowBytes: rowBytes,
        hasTexts: form.content == .part(.text))
    }
    hasTexts = outputs.contains { $0.hasTexts }
    fixedBytes = Self.frameBytes + model.model.name.utf8.count
    allFixedBytes = outputs.reduce(fixedBytes) { $0 + $1.fixedBytes }
    allRowBytes = outputs.reduce(0) { $0 + $1.rowBytes }
  }

  /// Most bytes of an answer with all outputs.
  ///
  /// - Parameter textBytes: of the call's texts, or more.
  func bytes(rows: Int, textBytes: Int) -> Int {
    allFixedBytes + rows * allRowBytes + (hasTexts ? textBytes : 0)
  }

  /// Most bytes of an answer with some outputs.
  func bytes(rows: Int, textBytes: Int, selection: UInt64) -> Int {
    var bytes = fixedBytes
    for index in outputs.indices where selection.selects(index) {
      bytes += outputs[index].fixedBytes + rows * outputs[index].rowBytes
      if outputs[index].hasTexts { bytes += textBytes }
    }
    return bytes
  }
}

extension AnswerSize {
  /// - Returns: most bytes of an answer.
  /// - Throws: the error for an answer longer than any frame.
  @discardableResult
  func check(rows: Int, textBytes: Int, selection: UInt64) throws(ServingError) -> Int {
    let bytes = bytes(rows: rows, textBytes: textBytes, selection: selection)
    guard bytes <= Limits.answerBytesMax else {
      throw .invalidArgument(
        "rows: expected an answer of at most \(Limits.answerBytesMax) bytes, found \(bytes) for \(rows) rows; "
          + "ask for fewer rows or outputs",
        .init(
          limit: .init(
            "answer_bytes_max", maximum: UInt64(Limits.answerBytesMax), found: UInt64(clamping: bytes))))
    }
    return bytes
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
  /// Upper bound of a call's extent by its head: of its texts it is known only that they have no more bytes than the call.
  func extentEstimate(rows: Int, inputBytes: Int) -> BatchExtent {
    guard let tokenBound else { return BatchExtent(rows: rows) }
    // Both products fit: at most 64 MiB of input, and 2¹³ tokens for each of 2¹⁶ rows.
    return BatchExtent(
      rows: rows, units: min(rows * tokenBound.rowMax, rows * tokenBound.perRow + tokenBound.perByte * inputBytes))
  }

  /// Selection of all outputs. Selections of answers have bits for parts of outputs beside them.
  var outputSelection: UInt64 { outputs.count == 64 ? .max : (1 << UInt64(outputs.count)) - 1 }

  /// Floats that one row of the outputs in `selection` takes.
  func collectedFloatsPerRow(_ selection: UInt64) -> Int {
    var floats = 0
    for index in outputs.indices where selection.selects(index) { floats += outputs[index].floatsPerRow }
    return floats
  }

  /// Floats that the rows of a call take, with their texts where an output is places in them.
  func collectedFloats(_ selection: UInt64, rows: Int, textBytes: Int) -> Int {
    let floats = rows * collectedFloatsPerRow(selection)
    guard let spans, selection.selects(spans.output) else { return floats }
    return floats + spans.textFloats(rows: rows, textBytes: textBytes)
  }

  /// Copies the outputs of `count` rows, from row `first` on, out of a workspace. Answers that do not stay in a
  /// workspace until they are encoded lie output after output, each with all rows of its call; outputs that nobody
  /// asked for are left out. Behind them stand the texts that an output is places in.
  /// - Parameters:
  ///   - collected: memory for `rows` rows of the outputs in `selection`, and for texts.
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
    guard let spans, selection.selects(spans.output) else { return }
    spans.copyTexts(
      from: workspace.rows.texts + first * textItemBytes, count: count, to: UnsafeMutableRawPointer(start), at: row,
      of: rows)
  }

  /// Number of NaN and infinite values among collected outputs.
  func nonFinite(in collected: UnsafePointer<Float>, rows: Int, _ selection: UInt64) -> Int {
    var (found, start) = (0, collected)
    for index in outputs.indices where selection.selects(index) {
      let floats = rows * outputs[index].floatsPerRow
      if outputs[index].kind == .number { found += NonFinite.count(start, count: floats) }
      start += floats
    }
    return found
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

extension LiveModel {
  /// Estimated time of a batch of this extent. Warming measures batches by their units.
  func nanoseconds(of extent: BatchExtent) -> UInt64 { costScale.corrected(cost.nanoseconds(rows: extent.units)) }

  /// Estimated time that a call of this extent adds to a batch that runs anyway.
  func marginalNanoseconds(of extent: BatchExtent) -> UInt64 {
    costScale.corrected(cost.marginalNanoseconds(rows: extent.units))
  }
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
