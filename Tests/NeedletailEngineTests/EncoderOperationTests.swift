import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// A graph of values per token in front of one output, run on rows of given lengths.
struct TokenGraph {
  var graph: ModelGraph

  /// - Parameter input: type of value 0, per token.
  init(input: ValueType, tensors: [WeightTensor] = []) {
    graph = ModelGraph(
      task: .regression, values: [.init(name: "input", type: input)], nodes: [], outputs: [], tensors: tensors)
  }

  /// Adds a node and the value that it writes.
  /// - Returns: the index of that value.
  @discardableResult
  mutating func add(_ operation: any GraphOperation, _ inputs: [Int], _ type: ValueType) -> Int {
    graph.values.append(.init(name: "value \(graph.values.count)", type: type))
    let output = graph.values.count - 1
    graph.nodes.append(
      Node(name: "node \(graph.nodes.count)", inputs: inputs, outputs: [output], operation: operation))
    graph.outputs = [.init(name: "out", value: output, kind: .number)]
    return output
  }

  mutating func addTensor(_ shape: [Int], _ storage: WeightTensor.Storage) -> Int {
    graph.tensors.append(WeightTensor(name: "tensor \(graph.tensors.count)", shape: shape, storage: storage))
    return graph.tensors.count - 1
  }

  func plan(_ isa: InstructionSet? = nil, rows: Int = 16, units: Int = 600) throws -> Plan {
    var options = PlanOptions()
    options.isa = isa
    options.extentMax = BatchExtent(rows: rows, units: units)
    return try Plan(graph, options: options)
  }

  /// What the plan answers, per token or per row, one after the other.
  ///
  /// - Parameter rows: for each row the items of value 0, for each token.
  static func answers<Element: BitwiseCopyable>(_ plan: Plan, _ rows: [[[Element]]], isPerRow: Bool = false) -> [Float]
  {
    let workspace = plan.workspace()
    workspace.set(tokenCounts: rows.map(\.count))
    let items = rows.joined().flatMap { $0 }
    items.withUnsafeBytes { bytes in
      if let start = bytes.baseAddress { workspace.input.copyMemory(from: start, byteCount: bytes.count) }
    }
    let units = rows.reduce(0) { $0 + $1.count }
    plan.run(workspace, BatchExtent(rows: rows.count, units: units))
    let count = (isPerRow ? rows.count : units) * plan.outputs[0].columns
    return Array(UnsafeBufferPointer(start: workspace.output(0), count: count))
  }

  /// The definition's answers for the same rows.
  func references(_ rows: [[[Double]]]) -> [[[Double]]] {
    rows.map { graph.reference(known: [0: $0])[graph.outputs[0].value] }
  }
}

/// Operations of encoders against their definition in double precision, on rows of mixed lengths.
@Suite struct EncoderOperationTests {
  private var random = SplitMix64(seed: 18)

  private mutating func floats(_ count: Int, _ scale: Float = 1) -> [Float] {
    (0..<count).map { _ in random.nextFloat() * scale }
  }

  private mutating func rows(_ lengths: [Int], _ columns: Int, _ scale: Float = 1) -> [[[Float]]] {
    lengths.map { length in (0..<length).map { _ in floats(columns, scale) } }
  }

  private func doubles(_ rows: [[[Float]]]) -> [[[Double]]] { rows.map { $0.map { $0.map { Double($0) } } } }

  /// Compares a graph with its reference on each instruction set, the sets with each other to the bit, and each row
  /// alone with the same row among others.
  private func check(
    _ tokens: TokenGraph, _ rows: [[[Float]]], isPerRow: Bool = false, tolerance: Double = 2e-6
  ) throws {
    let expected = tokens.references(doubles(rows)).joined().flatMap { $0 }
    var first: [UInt32]?
    for isa in InstructionSet.supported {
      let plan = try tokens.plan(isa)
      let found = TokenGraph.answers(plan, rows, isPerRow: isPerRow)
      try #require(found.count == expected.count)
      for (x, y) in zip(expected, found) {
        #expect(abs(Double(y) - x) <= tolerance * max(1, abs(x)), "\(isa): expected \(x), found \(y)")
      }
      #expect(first.map { $0 == bits(found) } ?? true, "\(isa)")
      first = bits(found)
      let alone = rows.flatMap { row in
        row.isEmpty && !isPerRow ? [] : TokenGraph.answers(plan, [row], isPerRow: isPerRow)
      }
      #expect(bits(alone) == bits(found), "\(isa), alone")
    }
  }

  @Test(arguments: [(1, 4), (2, 8), (12, 32), (3, 21), (1, 64)])
  mutating func attentionIsItsFormulaOnRowsOfAnyLength(heads: Int, width: Int) throws {
    let lengths = [3, 0, 1, 17, 33, 16, 70]
    let columns = heads * width
    var fused = TokenGraph(input: ValueType(.float32, [3 * columns], per: .token))
    fused.add(SelfAttention(heads: heads), [0], ValueType(.float32, [columns], per: .token))
    let rows = rows(lengths, 3 * columns, 3)
    // Scores reach 30: their last digit is worth 2e-6.
    try check(fused, rows, tolerance: 1e-5)

    var separate = TokenGraph(input: ValueType(.float32, [3 * columns], per: .token))
    let parts = (0..<3).map { part in
      separate.add(
        SelectColumns(columns: Array(part * columns..<(part + 1) * columns)), [0],
        ValueType(.float32, [columns], per: .token))
    }
    separate.add(SelfAttention(heads: heads), parts, ValueType(.float32, [columns], per: .token))
    let (one, three) = try (fused.plan(), separate.plan())
    #expect(bits(TokenGraph.answers(one, rows)) == bits(TokenGraph.answers(three, rows)))
  }

  @Test(arguments: [(1, 4, 1), (3, 21, 5), (2, 8, 16), (12, 32, 40)])
  mutating func attentionWithAPrefixIsItsFormula(heads: Int, width: Int, places: Int) throws {
    let columns = heads * width
    var tokens = TokenGraph(input: ValueType(.float32, [3 * columns], per: .token))
    let keys = tokens.addTensor([places, columns], .float32(floats(places * columns, 3)))
    let values = tokens.addTensor([places, columns], .float32(floats(places * columns, 3)))
    let attention = SelfAttention(heads: heads, prefix: .init(keys: keys, values: values))
    tokens.add(attention, [0], ValueType(.float32, [columns], per: .token))
    try check(tokens, rows([3, 0, 1, 17, 33, 16, 70], 3 * columns, 3), tolerance: 1e-5)
    let words = try tokens.plan().steps.map(\.operation)
    #expect(words == ["self-attention of \(heads) heads, prefix of \(places)"])
  }

  /// A prefix whose keys are those of a token, and its values too, has that token count once more.
  @Test mutating func aPrefixStandsAmongTheTokens() throws {
    let type = ValueType(.float32, [8], per: .token)
    var row = rows([6], 24, 2)[0]
    var tokens = TokenGraph(input: ValueType(.float32, [24], per: .token))
    let keys = tokens.addTensor([2, 8], .float32(Array(row[0][8..<16] + row[1][8..<16])))
    let values = tokens.addTensor([2, 8], .float32(Array(row[0][16...] + row[1][16...])))
    tokens.add(SelfAttention(heads: 2, prefix: .init(keys: keys, values: values)), [0], type)
    var plain = TokenGraph(input: ValueType(.float32, [24], per: .token))
    plain.add(SelfAttention(heads: 2), [0], type)
    let expected = TokenGraph.answers(try plain.plan(), [row])
    row.removeFirst(2)
    #expect(bits(TokenGraph.answers(try tokens.plan(), [row])) == bits(Array(expected[16...])))
  }

  @Test mutating func attentionToOneStrongKeyTakesItsValue() throws {
    // Scores of ±500: without the largest subtracted, the exponentials would overflow.
    var tokens = TokenGraph(input: ValueType(.float32, [3], per: .token))
    tokens.add(SelfAttention(heads: 1), [0], ValueType(.float32, [1], per: .token))
    let rows: [[[Float]]] = [(0..<40).map { [1, $0 == 21 ? 500 : -500, Float($0)] }]
    #expect(TokenGraph.answers(try tokens.plan(), rows) == [Float](repeating: 21, count: 40))
  }

  @Test mutating func aNaNStaysInItsRow() throws {
    var tokens = TokenGraph(input: ValueType(.float32, [24], per: .token))
    tokens.add(SelfAttention(heads: 2), [0], ValueType(.float32, [8], per: .token))
    var rows = rows([5, 4, 20], 24)
    rows[1][2][9] = .nan
    let found = TokenGraph.answers(try tokens.plan(), rows)
    #expect(found[40..<72].contains { $0.isNaN })
    #expect(!found[..<40].contains { $0.isNaN } && !found[72...].contains { $0.isNaN })
  }

  @Test(arguments: Pool.Mode.allCases)
  mutating func poolMakesOneItemOfARow(mode: Pool.Mode) throws {
    for columns in [1, 7, 16, 50] {
      var tokens = TokenGraph(input: ValueType(.float32, [columns], per: .token))
      tokens.add(Pool(mode), [0], ValueType(columns: columns))
      try check(tokens, rows([4, 1, 0, 33, 2], columns), isPerRow: true)
    }
  }

  @Test mutating func normaliseMakesVectorsOfLengthOne() throws {
    for columns in [1, 15, 16, 64, 100, 384] {
      var tokens = TokenGraph(input: ValueType(.float32, [columns], per: .token))
      tokens.add(Normalise(), [0], ValueType(.float32, [columns], per: .token))
      var rows = rows([3, 5], columns, 100)
      rows[1][0] = [Float](repeating: 0, count: columns)
      try check(tokens, rows, tolerance: 3e-7)
    }
  }

  @Test mutating func layerNormIsItsFormula() throws {
    for columns in [2, 16, 37, 384] {
      var tokens = TokenGraph(input: ValueType(.float32, [columns], per: .token))
      let scale = tokens.addTensor([columns], .float32(floats(columns)))
      let bias = tokens.addTensor([columns], .float32(floats(columns)))
      tokens.add(
        LayerNorm(scale: scale, bias: bias, epsilon: 1e-5), [0], ValueType(.float32, [columns], per: .token))
      try check(tokens, rows([3, 5], columns, 10))
    }
  }

  @Test(arguments: Dense.Activation.allCases)
  mutating func activateIsTheActivationOfALayer(activation: Dense.Activation) throws {
    var tokens = TokenGraph(input: ValueType(.float32, [37], per: .token))
    tokens.add(Activate(activation), [0], ValueType(.float32, [37], per: .token))
    try check(tokens, rows([3, 6], 37, 6), tolerance: 5e-7)
  }

  /// Tables of each form, whose rows a plan must give exactly.
  @Test mutating func embeddingsAreRowsOfTheirTable() throws {
    for width in [1, 16, 21, 384] {
      let halves = (0..<11 * width).map { _ in UInt16(truncatingIfNeeded: random.next()) & 0xbbff }
      let bytes = (0..<11 * width).map { _ in Int8(truncatingIfNeeded: Int(random.next() % 255) - 127) }
      let scales = floats(11).map { abs($0) + 0.01 }
      for storage in [
        .float32(floats(11 * width)), .float16(halves), .int8(bytes, scales: scales),
      ] as [WeightTensor.Storage] {
        for (index, offset) in [(.value, 0), (.value, 2), (.position, 0), (.position, 5)] as [(Embedding.Index, Int)] {
          var tokens = TokenGraph(input: ValueType(.int32, [1], per: .token))
          let table = tokens.addTensor([11, width], storage)
          tokens.add(
            Embedding(table: table, index: index, offset: offset), [0], ValueType(.float32, [width], per: .token))
          // Beyond the table on both sides as well.
          let rows: [[[Int32]]] = [[[3], [0], [10]], [], [[Int32.min], [5], [Int32.max], [7], [1], [2], [4], [6]]]
          let known = rows.map { $0.map { $0.map { Double($0) } } }
          let expected = tokens.references(known).joined().flatMap { $0 }.map { Float($0) }
          for isa in InstructionSet.supported {
            let found = TokenGraph.answers(try tokens.plan(isa), rows)
            #expect(bits(found) == bits(expected), "\(isa), \(index) + \(offset), width \(width)")
          }
        }
      }
    }
  }

  // MARK: - a whole encoder

  /// Two layers as BERT has them, on ids, with one vector a row.
  private mutating func encoder(isInt8: Bool, width: Int = 32, heads: Int = 4) -> TokenGraph {
    var tokens = TokenGraph(input: ValueType(.int32, [1], per: .token))
    let type = ValueType(.float32, [width], per: .token)
    func weights(_ rows: Int, _ columns: Int) -> Int {
      guard isInt8 else { return tokens.addTensor([rows, columns], .float32(floats(rows * columns, 0.3))) }
      let elements = (0..<rows * columns).map { _ in Int8(truncatingIfNeeded: Int(random.next() % 255) - 127) }
      return tokens.addTensor([rows, columns], .int8(elements, scales: floats(rows).map { abs($0) / 400 + 0.001 }))
    }
    func norm(_ value: Int) -> Int {
      let scale = tokens.addTensor([width], .float32(floats(width).map { 1 + $0 / 4 }))
      let bias = tokens.addTensor([width], .float32(floats(width, 0.1)))
      return tokens.add(LayerNorm(scale: scale, bias: bias, epsilon: 1e-12), [value], type)
    }
    func dense(_ value: Int, _ columns: Int, _ outputs: Int, _ activation: Dense.Activation = .identity) -> Int {
      let matrix = weights(outputs, columns)
      let bias = tokens.addTensor([outputs], .float32(floats(outputs, 0.1)))
      return tokens.add(
        Dense(weights: matrix, bias: bias, activation: activation), [value],
        ValueType(.float32, [outputs], per: .token))
    }
    let words = tokens.addTensor([50, width], .float32(floats(50 * width)))
    let places = tokens.addTensor([512, width], .float32(floats(512 * width)))
    let word = tokens.add(Embedding(table: words), [0], type)
    let place = tokens.add(Embedding(table: places, index: .position), [0], type)
    var value = norm(tokens.add(Add(), [word, place], type))
    for _ in 0..<2 {
      let attention = tokens.add(SelfAttention(heads: heads), [dense(value, width, 3 * width)], type)
      value = norm(tokens.add(Add(), [dense(attention, width, width), value], type))
      let inner = dense(value, width, 4 * width, .gelu)
      value = norm(tokens.add(Add(), [dense(inner, 4 * width, width), value], type))
    }
    let pooled = tokens.add(Pool(.mean), [value], ValueType(columns: width))
    tokens.add(Normalise(), [pooled], ValueType(columns: width))
    return tokens
  }

  private mutating func ids(_ lengths: [Int]) -> [[[Int32]]] {
    lengths.map { length in (0..<length).map { _ in [Int32(random.next() % 50)] } }
  }

  @Test mutating func anEncoderIsWithinRoundingOfItsDefinition() throws {
    let tokens = encoder(isInt8: false)
    let rows = ids([7, 1, 40, 16])
    let expected = tokens.references(rows.map { $0.map { $0.map { Double($0) } } }).joined().flatMap { $0 }
    let found = TokenGraph.answers(try tokens.plan(), rows, isPerRow: true)
    for (x, y) in zip(expected, found) { #expect(abs(Double(y) - x) < 2e-6, "expected \(x), found \(y)") }
  }

  @Test(arguments: [true, false])
  mutating func anAnswerHasTheSameBitsAloneAndInAnyBatch(isInt8: Bool) throws {
    let tokens = encoder(isInt8: isInt8)
    var expected: [[UInt32]] = []
    let rows = ids([5, 90, 1, 2, 31, 64, 8, 17])
    for isa in InstructionSet.supported {
      let plan = try tokens.plan(isa)
      let alone = rows.map { bits(TokenGraph.answers(plan, [$0], isPerRow: true)) }
      #expect(expected.isEmpty || alone == expected, "\(isa)")
      expected = alone
      for _ in 0..<30 {
        let batch = (0..<1 + Int(random.next() % 8)).map { _ in Int(random.next() % UInt64(rows.count)) }
        guard batch.reduce(0, { $0 + rows[$1].count }) <= 600 else { continue }
        let found = TokenGraph.answers(plan, batch.map { rows[$0] }, isPerRow: true)
        #expect(bits(found) == batch.flatMap { alone[$0] }, "\(isa), rows \(batch)")
      }
    }
  }

  @Test mutating func rowsWithoutTokensAreZeros() throws {
    let plan = try encoder(isInt8: true).plan()
    let found = TokenGraph.answers(plan, [[], []] as [[[Int32]]], isPerRow: true)
    #expect(found == [Float](repeating: 0, count: 64))
  }
}
