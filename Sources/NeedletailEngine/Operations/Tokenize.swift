internal import CNeedletailKernels
public import CNeedletailProto
internal import CNeedletailText
internal import NeedletailCore

/// Tokens of a row's text, or of a pair of texts, by the model's tokenizer: what all values per token go by.
public struct Tokenize: GraphOperation {
  /// Which text of a row, by its number among the features that are text.
  public var column: Int
  /// Which text is the second of a pair; nil: there is none.
  public var second: Int?
  /// Most tokens of a row, special ones included. A tokenizer that truncates leaves no more; where it keeps all, a longer
  /// text is refused.
  public var tokensMax: Int

  public init(column: Int = 0, second: Int? = nil, tokensMax: Int) {
    self.column = column
    self.second = second
    self.tokensMax = tokensMax
  }

  public init(_ message: Needletail__V1__Tokenize) {
    self.init(
      column: Int(message.column), second: message.second == 0 ? nil : Int(message.second) - 1,
      tokensMax: Int(message.tokens_max))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Tokenize>? {
    memory.build(needletail__v1__tokenize__init) {
      $0.column = UInt32(clamping: column)
      $0.second = second.map { UInt32(clamping: $0 &+ 1) } ?? 0
      $0.tokens_max = UInt32(clamping: tokensMax)
    }
  }

  /// Ids; then, where they are asked for, types; then what each token covers.
  public static var outputCounts: ClosedRange<Int> { 1...3 }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let (graph, input) = (context.graph, context.inputs[0])
    guard input.element == .text else { throw context.fault("expected texts as input, found \(input.words)") }
    guard let tokenizer = graph.tokenizer else { throw context.fault("expected a tokenizer in the model, found none") }
    for (role, column) in [("text", column)] + (second.map { [("second text", $0)] } ?? []) {
      guard (0..<input.columns).contains(column) else {
        throw context.fault("\(role) \(column), expected 0 to \(input.columns - 1)")
      }
    }
    guard graph.nodes.count(where: { $0.operation is Tokenize }) == 1 else {
      throw context.fault("expected one node that tokenises, found several")
    }
    guard (1...Limits.rowTokensMax).contains(tokensMax) else {
      throw context.fault("expected 1 to \(Limits.rowTokensMax) tokens a row, found \(tokensMax)")
    }
    if let kept = tokenizer.tokensMax, kept > tokensMax {
      throw context.fault("expected a tokenizer that leaves at most \(tokensMax) tokens, found one that leaves \(kept)")
    }
    let typesMax = (tokenizer.definition.single + tokenizer.definition.pair).map { Int($0.type) }.max() ?? 0
    try checkTables(context, idCount: tokenizer.idCount, typeCount: typesMax + 1)
    let types = [
      ValueType(.int32, [1], per: .token), ValueType(.int32, [1], per: .token), ValueType(.int32, [4], per: .token),
    ]
    return Array(types.prefix(context.outputs.count))
  }

  /// Every id, and every place in a text, has a row in the tables that it leads to.
  private func checkTables(_ context: OperationContext, idCount: Int, typeCount: Int) throws(GraphFault) {
    let graph = context.graph
    for node in graph.nodes {
      guard let embedding = node.operation as? Embedding, graph.tensors.indices.contains(embedding.table),
        let rows = graph.tensors[embedding.table].shape.first
      else { continue }
      let (needed, what) =
        switch (embedding.index, context.node.outputs.firstIndex(of: node.inputs.first ?? -1)) {
        case (.position, _): (tokensMax, "places")
        case (.value, 0?): (idCount, "ids")
        case (.value, 1?): (typeCount, "types")
        default: (0, "")
        }
      guard rows - min(max(embedding.offset, 0), rows) >= needed else {
        throw GraphFault(
          node: node.name,
          "node \(node.name.quotedForMessage): expected a table for \(needed) \(what), found \(rows) rows and offset \(embedding.offset)"
        )
      }
    }
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let graph = plan.graph
    guard let tokenizer = graph.tokenizer, let starts = plan.startsBuffer else {
      preconditionFailure("a graph without a tokenizer passed the check")
    }
    let outputs = graph.nodes[node].outputs
    let extent = plan.options.extentMax
    let kernel = nt_tokenize(
      vocabulary: tokenizer.vocabulary.pointer, first: UInt32(column), second: second.map { UInt32($0) } ?? .max,
      texts_per_row: UInt32(graph.values[graph.nodes[node].inputs[0]].columns), units_max: UInt32(extent.units),
      has_types: outputs.count > 1, has_spans: outputs.count > 2)
    let scratch = try plan.addTokenizer(tokenizer, tokensMax: tokensMax, for: node)
    var step = try plan.step(
      node, nt_tokenize_step, kernel, reading: graph.nodes[node].inputs, writing: outputs, words: words,
      kernel: "tokenize")
    step.buffers.insert(contentsOf: [starts, plan.addStatuses(), scratch], at: 1)
    step.findsUnits = true
    plan.add(step)
  }

  public var parameterCount: Int { 3 }
  public var words: String { second == nil ? "tokenize" : "tokenize a pair" }

  /// The tokenizer has tests of its own: references are given what it writes.
  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    preconditionFailure("tokens are given to a reference")
  }
}
