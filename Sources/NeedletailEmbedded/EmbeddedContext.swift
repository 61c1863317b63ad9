internal import CNeedletailEmbedded
internal import NeedletailCore
internal import NeedletailEngine
internal import Synchronization

/// Scratch for one call at a time: bound rows, the plan's arena, and the caller's tensors as the binder takes them. A call
/// allocates nothing, unless it fails.
///
/// Unchecked: whoever has set ``isBusy`` uses all of it, and no other thread.
final class EmbeddedContext: @unchecked Sendable {
  /// Meaning and width of one output.
  private struct OutputLayout {
    let kind: OutputKind
    /// Elements of one row.
    let columns: Int

    /// Alignment of an element in bytes.
    var alignment: Int {
      switch kind {
      case .number: MemoryLayout<Float>.alignment
      case .classIndex: MemoryLayout<Int64>.alignment
      case .classLabel: MemoryLayout<ntl_text>.alignment
      }
    }
  }

  private let model: EmbeddedModel
  private let plan: Plan
  private let binder: FeatureBinder
  private let labels: UnsafeBufferPointer<ntl_text>
  private let workspace: Workspace
  private let isBusy = Atomic<Bool>(false)
  private let layouts: UnsafeMutableBufferPointer<OutputLayout>
  /// Room for one tensor of each feature, and one more that must be wrong.
  private let views: UnsafeMutableBufferPointer<TensorView>
  private var texts: TextRoom
  /// Shape of ``predict(_:_:rows:columns:_:)``, and the name of its tensor.
  private let shape: UnsafeMutableBufferPointer<UInt64>
  private let denseName: UnsafeMutableRawBufferPointer

  /// - Throws: `NTL_MEMORY`.
  init(_ model: EmbeddedModel) throws(EmbeddedError) {
    let features = model.compiled.definition.schema.features.count
    let textBytes = EmbeddedDescription.textBytesMax
    // A server's frame spends two bytes on an empty text, so that no call of more texts fits one.
    let places = min(Limits.batchRowsMaxDefault * features, textBytes / 2)
    texts = try TextRoom(bytesMax: textBytes, placesMax: places)
    do throws(PlanError) { workspace = try Workspace(model.compiled.plan) } catch { throw EmbeddedError(error) }
    self.model = model
    (plan, binder, labels) = (model.compiled.plan, model.compiled.binder, model.description.labels)
    layouts = .allocate(capacity: plan.outputs.count)
    _ = layouts.initialize(
      from: plan.outputs.map { OutputLayout(kind: $0.kind, columns: $0.kind == .number ? $0.columns : 1) })
    views = .allocate(capacity: features + 1)
    shape = .allocate(capacity: 2)
    shape.initialize(repeating: 0)
    let name = Array(FeatureBinder.denseName.utf8)
    denseName = .allocate(byteCount: name.count, alignment: 1)
    denseName.copyBytes(from: name)
  }

  deinit {
    layouts.deallocate()
    views.deallocate()
    shape.deallocate()
    denseName.deallocate()
  }

  /// Answers the rows of some tensors.
  func predict(
    _ inputs: UnsafeBufferPointer<ntl_tensor>, _ outputs: UnsafeBufferPointer<ntl_output>
  ) throws(EmbeddedError) {
    try enter()
    defer { leave() }
    texts.removeAll()
    guard inputs.count <= views.count else { return try refuse(inputs) }
    for index in 0..<inputs.count {
      views.initializeElement(at: index, to: try Self.view(inputs[index], index, &texts))
    }
    try answer(UnsafeBufferPointer(rebasing: UnsafeBufferPointer(views)[..<inputs.count]), outputs)
  }

  /// Answers rows that hold all features.
  func predict(
    _ type: ntl_type, _ data: UnsafeRawPointer?, rows: Int, columns: Int, _ outputs: UnsafeBufferPointer<ntl_output>
  ) throws(EmbeddedError) {
    guard let element = DataType(type), element != .string else {
      throw .invalidArgument("type: expected one of numbers, found \(type.rawValue)")
    }
    let (elements, overflow) = rows.multipliedReportingOverflow(by: columns)
    let (bytes, bytesOverflow) = elements.multipliedReportingOverflow(by: element.elementBytes)
    guard rows >= 0, columns >= 0, !overflow, !bytesOverflow else {
      throw .invalidArgument("rows: expected at most \(Int.max) bytes, found more")
    }
    guard bytes == 0 || data != nil else {
      throw .invalidArgument("rows: expected memory for \(bytes) bytes, found NULL")
    }
    try enter()
    defer { leave() }
    shape[0] = UInt64(rows)
    shape[1] = UInt64(columns)
    views.initializeElement(
      at: 0,
      to: TensorView(
        name: UnsafeRawBufferPointer(denseName), type: element, shape: UnsafeBufferPointer(shape),
        data: UnsafeRawBufferPointer(start: data, count: bytes)))
    try answer(UnsafeBufferPointer(rebasing: UnsafeBufferPointer(views)[..<1]), outputs)
  }

  // MARK: one call

  private func enter() throws(EmbeddedError) {
    guard isBusy.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged else {
      throw .invalidArgument("context: expected one call at a time, found another in it")
    }
  }

  private func leave() { isBusy.store(false, ordering: .releasing) }

  private func answer(
    _ tensors: UnsafeBufferPointer<TensorView>, _ outputs: UnsafeBufferPointer<ntl_output>
  ) throws(EmbeddedError) {
    do throws(ServingError) {
      let rows = try binder.extent(of: tensors, max: BatchExtent(rows: Limits.batchRowsMaxDefault)).rows
      try check(outputs, rows: rows)
      var first = 0
      while first < rows {
        let count = binder.rowsOfRun(tensors, from: first, of: rows, for: plan)
        var textBytes = 0
        try binder.bind(tensors, rows: first..<first + count, into: workspace.rows, textBytesUsed: &textBytes)
        plan.run(workspace, rows: count)
        if let error = plan.textError(workspace, rows: 0..<count, first: first) { throw error }
        for output in outputs { copy(output, at: first, count: count) }
        first += count
      }
    } catch {
      throw EmbeddedError(error)
    }
  }

  /// More tensors than features: one of them is wrong, and the binder says which. The only call that allocates before it
  /// fails.
  private func refuse(_ inputs: UnsafeBufferPointer<ntl_tensor>) throws(EmbeddedError) {
    guard inputs.count <= 2 * Limits.featuresMax else {
      throw .invalidArgument("inputs: expected at most \(2 * Limits.featuresMax) tensors, found \(inputs.count)")
    }
    let list = UnsafeMutableBufferPointer<TensorView>.allocate(capacity: inputs.count)
    defer { list.deallocate() }
    for index in 0..<inputs.count {
      list.initializeElement(at: index, to: try Self.view(inputs[index], index, &texts))
    }
    do throws(ServingError) {
      _ = try binder.extent(of: UnsafeBufferPointer(list), max: BatchExtent(rows: Limits.batchRowsMaxDefault))
    } catch {
      throw EmbeddedError(error)
    }
    throw .invalidArgument("inputs: expected at most \(views.count - 1) tensors, found \(inputs.count)")
  }

  /// A tensor as the binder takes it. What the sender says in it is the binder's to check; here only what would end the
  /// process.
  private static func view(
    _ tensor: ntl_tensor, _ index: Int, _ texts: inout TextRoom
  ) throws(EmbeddedError) -> TensorView {
    let name = try callerBuffer(tensor.name, count: tensor.name_length, "input \(index): bytes of its name")
    let shape = try callerBuffer(tensor.shape, count: tensor.rank, "input \(index): dimensions")
    guard tensor.data_bytes >= 0, tensor.data_bytes == 0 || tensor.data != nil else {
      throw .invalidArgument("input \(index): data: expected memory for \(tensor.data_bytes) bytes, found none")
    }
    let elements = try callerBuffer(tensor.texts, count: tensor.text_count, "input \(index): texts")
    return TensorView(
      name: UnsafeRawBufferPointer(name), type: DataType(tensor.type), shape: shape,
      data: UnsafeRawBufferPointer(start: tensor.data, count: tensor.data_bytes),
      strings: elements.isEmpty ? TextElements() : try texts.add(elements))
  }

  /// - Throws: `.invalidArgument` for an output that does not exist, or whose memory is too small.
  private func check(_ outputs: UnsafeBufferPointer<ntl_output>, rows: Int) throws(ServingError) {
    for position in 0..<outputs.count {
      let (index, capacity) = (outputs[position].index, outputs[position].capacity)
      guard layouts.indices.contains(index) else {
        throw .invalidArgument("output \(position): expected an index below \(layouts.count), found \(index)")
      }
      let elements = rows * layouts[index].columns
      // A size beyond Int.max is negative here, and more than enough.
      guard capacity >= elements || capacity < 0 else {
        throw wrongMemory(index, "expected memory for \(elements) elements, found \(capacity)")
      }
      guard let values = outputs[position].values else { throw wrongMemory(index, "expected memory, found NULL") }
      guard Int(bitPattern: values) % layouts[index].alignment == 0 else {
        throw wrongMemory(index, "expected memory aligned to \(layouts[index].alignment) bytes, found other")
      }
    }
  }

  @inline(never)
  private func wrongMemory(_ index: Int, _ message: String) -> ServingError {
    .invalidArgument("output \(plan.outputs[index].name.quotedForMessage): \(message)")
  }

  /// Copies rows of one output, from the workspace's first on, to row `first` of the caller's memory.
  private func copy(_ output: ntl_output, at first: Int, count: Int) {
    guard let memory = output.values else { return }
    let (values, columns) = (workspace.output(output.index), layouts[output.index].columns)
    switch layouts[output.index].kind {
    case .number:
      (memory + first * columns * MemoryLayout<Float>.size)
        .copyMemory(from: values, byteCount: count * columns * MemoryLayout<Float>.size)
    case .classIndex:
      let indexes = memory.assumingMemoryBound(to: Int64.self) + first
      for row in 0..<count { indexes[row] = Int64(exactly: values[row]) ?? -1 }
    case .classLabel:
      let places = memory.assumingMemoryBound(to: ntl_text.self) + first
      // The engine returns no index beyond the labels; the last one would stand in, as in a server's answer.
      for row in 0..<count where !labels.isEmpty {
        places[row] = labels[min(max(Int(exactly: values[row]) ?? labels.count - 1, 0), labels.count - 1)]
      }
    }
  }
}

extension DataType {
  /// The element type of a C tensor; nil for a number that is none.
  init?(_ type: ntl_type) {
    guard let raw = UInt8(exactly: type.rawValue) else { return nil }
    self.init(rawValue: raw)
  }
}
