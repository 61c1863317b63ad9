internal import CNeedletailKernels
internal import CNeedletailText
internal import NeedletailCore
internal import NeedletailSystem

extension TextTerms {
  /// One step, with the layer behind it where that has fp32 weights and nothing else reads the terms.
  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let graph = plan.graph
    let (input, output) = (graph.nodes[node].inputs[0], graph.nodes[node].outputs[0])
    let name = graph.nodes[node].name
    var step = nt_terms_step()
    step.terms = try kernel(in: plan.storage, for: name)
    step.text = UInt32(text)
    step.texts_per_row = UInt32(graph.values[input].columns)
    step.bytes_max = plan.options.textBytesMax
    // Texts are taken one by one, whatever the number of rows.
    let scratchBytes = nt_terms_scratch_bytes(&step.terms.analyser, step.bytes_max)
    let scratch = plan.addBuffer(bytes: scratchBytes, per: .row)
    if let next = plan.onlyReader(of: output), let dense = graph.nodes[next].operation as? Dense,
      !graph.tensors[dense.weights].isInt8
    {
      return try lower(node, step, scratch, dense, next, into: &plan)
    }
    var own = try plan.step(
      node, nt_terms_run, step, reading: [input], writing: [output], words: words, kernel: "terms")
    own.buffers.append(scratch)
    plan.add(own)
    if isNonnegative { plan.markNonnegative(output) }
  }

  private var isNonnegative: Bool {
    if case .hashed(_, isSigned: true) = columns { return false }
    return idf.allSatisfy { $0 >= 0 }
  }

  private func lower(
    _ node: Int, _ terms: nt_terms_step, _ scratch: Int, _ dense: Dense, _ next: Int, into plan: inout PlanBuilder
  ) throws(PlanError) {
    let graph = plan.graph
    let name = graph.nodes[node].name
    plan.fuse(next)
    let (output, activation) = dense.output(of: next, in: &plan)
    let outputs = graph.values[output].columns
    let weights = graph.tensors[dense.weights].floats ?? []
    let stride = Int(nt_sparse_stride(UInt32(outputs)))
    let bytes = columnCount * stride * MemoryLayout<Float>.stride
    let packed = try plan.storage.allocate(bytes: bytes, for: name).assumingMemoryBound(to: Float.self)
    Pieces.forEach(columnCount) { columns in
      for column in columns {
        for place in 0..<outputs { packed[column * stride + place] = weights[place * columnCount + column] }
      }
    }
    var bias = dense.bias.flatMap { graph.tensors[$0].floats } ?? []
    bias += [Float](repeating: 0, count: nt_panel_count(outputs) * Int(NT_PANEL_COLUMNS) - bias.count)
    var layer = nt_terms_layer()
    layer.step = terms
    layer.row = nt_sparse_row_for(plan.isa.kernelSet)
    layer.layer = nt_sparse_layer(
      weights: UnsafePointer(packed), bias: try plan.storage.copy(bias, for: name), outputs: UInt32(outputs),
      stride: UInt32(stride), depth: UInt32(columnCount), activation: activation.kernel)
    var step = try plan.step(
      node, nt_terms_layer_run, layer, reading: [graph.nodes[node].inputs[0]], writing: [output],
      words: "\(words) + looked-up dense \(activation) fp32", kernel: "terms")
    step.buffers.append(scratch)
    step.weightBytes = bytes
    plan.add(step)
    plan.countProduct(isInt8: false)
  }

  /// The terms as the kernels read them, in memory of a plan.
  func kernel(in storage: PlanStorage, for node: String) throws(PlanError) -> nt_terms {
    var terms = nt_terms()
    terms.analyser = analyser.kernel
    terms.columns = UInt32(columnCount)
    terms.is_binary = isBinary
    terms.is_sublinear = isSublinear
    terms.norm = nt_term_norm(UInt32(norm.rawValue))
    if !idf.isEmpty { terms.idf = try storage.copy(idf, for: node) }
    switch columns {
    case .hashed(_, let isSigned): terms.is_signed = isSigned
    case .vocabulary(let list):
      terms.bytes = try storage.copy(list.bytes, for: node)
      terms.ends = try storage.copy(list.ends, for: node)
      let slots = try storage.allocate(bytes: 4 * list.slotCount, for: node)
        .assumingMemoryBound(to: UInt32.self)
      terms.slots = UnsafePointer(slots)
      terms.slot_mask = UInt32(list.slotCount - 1)
      for index in 0..<list.count { nt_terms_insert(&terms, slots, UInt32(index)) }
    }
    return terms
  }
}

extension TextTerms.Analyser {
  var kernel: nt_term_analyser {
    nt_term_analyser(
      unit: nt_term_unit(UInt32(unit.rawValue)), shortest: UInt32(shortest), longest: UInt32(longest),
      keeps_case: keepsCase)
  }
}

// MARK: - reference

extension TextTerms {
  /// By the definitions of scikit-learn's analysers, with the standard library's characters.
  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    var counts = [Double](repeating: 0, count: columnCount)
    for term in analyser.terms(of: String(decoding: TextReference.text(text, of: inputs[0]), as: UTF8.self)) {
      let bytes = Array(term.utf8)
      switch columns {
      case .vocabulary(let list):
        if let index = (0..<list.count).first(where: { list[$0].elementsEqual(bytes) }) { counts[index] += 1 }
      case .hashed(let buckets, let isSigned):
        let hash = nt_murmur3(bytes, bytes.count)
        counts[Int(nt_bucket(hash, UInt32(buckets)))] += isSigned && hash >> 31 == 1 ? -1 : 1
      }
    }
    var weights = counts.map { count in
      guard count != 0 else { return 0.0 }
      let weight = isBinary ? 1 : count
      return isSublinear && weight > 1 ? 1 + nt_natural_log(weight) : weight
    }
    if !idf.isEmpty { weights = zip(weights, idf).map { $0 * Double($1) } }
    let length =
      switch norm {
      case .none: 1.0
      case .l1: weights.reduce(0) { $0 + abs($1) }
      case .l2: weights.reduce(0) { $0 + $1 * $1 }.squareRoot()
      }
    return [weights.map { length > 0 ? $0 / length : $0 }]
  }
}

extension TextTerms.Analyser {
  /// Terms of a text, in any order.
  func terms(of text: String) -> [String] {
    let lowered = keepsCase ? text : text.unicodeScalars.map(\.properties.lowercaseMapping).joined()
    switch unit {
    case .words:
      let words = lowered.unicodeScalars.split { !Self.isWord($0) }.filter { $0.count > 1 }.map { String($0) }
      return Self.runs(words, shortest...longest).map { $0.joined(separator: " ") }
    case .characters:
      var characters: [Unicode.Scalar] = []
      var spaces = 0
      for character in lowered.unicodeScalars {
        spaces = Self.isSpace(character) ? spaces + 1 : 0
        if spaces > 1 { characters[characters.count - 1] = " " } else { characters.append(character) }
      }
      return Self.runs(characters, shortest...longest).map(Self.string)
    case .wordCharacters:
      return lowered.unicodeScalars.split(whereSeparator: Self.isSpace).flatMap { word in
        let padded = [" "] + Array(word) + [" "]
        let last = min(longest, max(padded.count, shortest))
        return (shortest...last).flatMap { $0 < padded.count ? Self.runs(padded, $0...$0) : [padded[...]] }
          .map(Self.string)
      }
    }
  }

  private static func runs<Element>(_ units: [Element], _ sizes: ClosedRange<Int>) -> [ArraySlice<Element>] {
    sizes.flatMap { size in
      units.count < size ? [] : (0...units.count - size).map { units[$0..<$0 + size] }
    }
  }

  private static func string(_ scalars: ArraySlice<Unicode.Scalar>) -> String {
    var text = ""
    text.unicodeScalars.append(contentsOf: scalars)
    return text
  }

  private static func isSpace(_ character: Unicode.Scalar) -> Bool {
    character.properties.isWhitespace || (0x1C...0x1F).contains(character.value)
  }

  private static func isWord(_ character: Unicode.Scalar) -> Bool {
    switch character.properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .decimalNumber,
      .letterNumber, .otherNumber:
      true
    default: character == "_"
    }
  }
}
