internal import CNeedletailKernels
public import CNeedletailProto
internal import NeedletailCore

/// Entities of a text, such as names of people and places: words of one kind that stand together. Four numbers for each,
/// as many as an answer has room for: kind, first byte, the byte behind the last, and the mean of the probabilities of its
/// words; −1 and zeros where there is none. Words go by their first token, as Hugging Face's strategy `first` does.
public struct Entities: GraphOperation {
  /// What a class says of a token.
  public struct Tag: Equatable, Sendable {
    /// Number of the kind of entity; nil: the token is part of none.
    public var kind: Int?
    /// Whether an entity begins here even behind another of its kind, as `B-` says.
    public var begins: Bool

    public init(kind: Int?, begins: Bool = false) {
      self.kind = kind
      self.begins = begins
    }
  }

  /// One for each class.
  public var tags: [Tag]
  /// Entities that an answer has room for.
  public var entitiesMax: Int

  public init(tags: [Tag], entitiesMax: Int) {
    self.tags = tags
    self.entitiesMax = entitiesMax
  }

  public init(_ message: Needletail__V1__Entities) throws(GraphFault) {
    let kinds = MessageValues.integers(message.kind, message.n_kind)
    let begins = MessageValues.array(message.begins, message.n_begins).map { $0 != 0 }
    guard kinds.count == begins.count else {
      throw GraphFault("entities: expected as many begins as kinds, found \(begins.count) for \(kinds.count)")
    }
    self.init(
      tags: zip(kinds, begins).map { Tag(kind: $0 == 0 ? nil : $0 - 1, begins: $1) },
      entitiesMax: Int(message.entities_max))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Entities>? {
    memory.build(needletail__v1__entities__init) {
      $0.n_kind = tags.count
      $0.kind = memory.array(tags.map { $0.kind.map { UInt32(clamping: $0 &+ 1) } ?? 0 })
      $0.n_begins = tags.count
      $0.begins = memory.array(tags.map { protobuf_c_boolean($0.begins ? 1 : 0) })
      $0.entities_max = UInt32(clamping: entitiesMax)
    }
  }

  /// Probabilities, and what each token covers.
  public static var inputCounts: ClosedRange<Int> { 2...2 }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    guard (1...Limits.labelsMax).contains(tags.count) else {
      throw context.fault("expected 1 to \(Limits.labelsMax) classes, found \(tags.count)")
    }
    try context.check(tokens: ValueType(.float32, [tags.count], per: .token))
    if let kind = tags.lazy.compactMap(\.kind).first(where: { !(0..<tags.count).contains($0) }) {
      throw context.fault("expected kinds from 0 to \(tags.count - 1), found \(kind)")
    }
    guard (1...Limits.rowEntitiesMax).contains(entitiesMax) else {
      throw context.fault("expected 1 to \(Limits.rowEntitiesMax) entities, found \(entitiesMax)")
    }
    return [ValueType(columns: 4 * entitiesMax)]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let name = plan.graph.nodes[node].name
    let kernel = nt_entities(
      classes: UInt32(tags.count), entities_max: UInt32(entitiesMax),
      kinds: try plan.storage.copy(tags.map { Int32($0.kind ?? -1) }, for: name),
      begins: try plan.storage.copy(tags.map { UInt8($0.begins ? 1 : 0) }, for: name))
    var step = try plan.step(
      node, nt_entities_step(plan.isa.kernelSet), kernel, reading: plan.graph.nodes[node].inputs,
      writing: plan.graph.nodes[node].outputs, words: words, kernel: "entities")
    step.domain = .row
    plan.add(step)
  }

  public var parameterCount: Int { 2 * tags.count + 1 }
  public func packedBytes(_ context: OperationContext) -> Int { 5 * tags.count + 2 * MemoryPlanner.alignment }
  public var words: String { "at most \(entitiesMax) entities" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    sequenceReference(inputs.map { [$0] }, context).map { $0[0] }
  }

  public func sequenceReference(_ inputs: [[[Double]]], _ context: OperationContext) -> [[[Double]]] {
    let (probabilities, spans) = (inputs[0], inputs[1])
    // Words: their first token, and their last.
    var words: [(first: Int, last: Int)] = []
    for token in spans.indices {
      if let last = words.last?.last, spans[token][2] >= 0, spans[last][2...3] == spans[token][2...3] {
        words[words.count - 1].last = token
      } else {
        words.append((token, token))
      }
    }
    var entities: [(kind: Int?, start: Double, end: Double, scores: [Double])] = []
    for word in words {
      let row = probabilities[word.first]
      let winner = row.indices.max { (row[$0], $1) < (row[$1], $0) } ?? 0
      let kind = spans[word.first][2] < 0 ? nil : tags[winner].kind
      if entities.last?.kind == kind, !tags[winner].begins, !entities.isEmpty {
        entities[entities.count - 1].end = spans[word.last][1]
        entities[entities.count - 1].scores.append(row[winner])
      } else {
        entities.append((kind, spans[word.first][0], spans[word.last][1], [row[winner]]))
      }
    }
    let found = entities.filter { $0.kind != nil }.prefix(entitiesMax).flatMap { entity in
      [Double(entity.kind ?? -1), entity.start, entity.end, entity.scores.reduce(0, +) / Double(entity.scores.count)]
    }
    let gaps = [[Double]](repeating: [-1, 0, 0, 0], count: entitiesMax - found.count / 4)
    return [[found + gaps.flatMap { $0 }]]
  }
}
