internal import CNeedletailKernels
public import CNeedletailProto
internal import Glibc
internal import NeedletailCore

/// The best answer in a text: its tokens s ≤ e of which the first logit of s and the second of e have the largest sum.
/// Three numbers a row: first byte, the byte behind the last, and how sure the model is, from 0 to 1.
public struct AnswerSpan: GraphOperation {
  /// Which text of a pair holds the answer: 0, or 1 for the second.
  public var sequence: Int
  /// Most tokens of an answer.
  public var tokensMax: Int

  public init(sequence: Int, tokensMax: Int) {
    self.sequence = sequence
    self.tokensMax = tokensMax
  }

  public init(_ message: Needletail__V1__AnswerSpan) {
    self.init(sequence: Int(message.sequence), tokensMax: Int(message.tokens_max))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__AnswerSpan>? {
    memory.build(needletail__v1__answer_span__init) {
      $0.sequence = UInt32(clamping: sequence)
      $0.tokens_max = UInt32(clamping: tokensMax)
    }
  }

  /// Logits, and what each token covers.
  public static var inputCounts: ClosedRange<Int> { 2...2 }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    try context.check(tokens: ValueType(.float32, [2], per: .token))
    guard (0...1).contains(sequence) else { throw context.fault("expected text 0 or 1, found \(sequence)") }
    guard (1...Limits.rowTokensMax).contains(tokensMax) else {
      throw context.fault("expected answers of 1 to \(Limits.rowTokensMax) tokens, found \(tokensMax)")
    }
    return [ValueType(columns: 3)]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let kernel = nt_answer_span(sequence: UInt32(sequence), tokens_max: UInt32(tokensMax))
    var step = try plan.step(
      node, nt_answer_span_step(plan.isa.kernelSet), kernel, reading: plan.graph.nodes[node].inputs,
      writing: plan.graph.nodes[node].outputs, words: words, kernel: "answer_span")
    step.domain = .row
    plan.add(step)
  }

  public var parameterCount: Int { 2 }
  public var words: String { "answer of at most \(tokensMax) tokens" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    sequenceReference(inputs.map { [$0] }, context).map { $0[0] }
  }

  public func sequenceReference(_ inputs: [[[Double]]], _ context: OperationContext) -> [[[Double]]] {
    let (logits, spans) = (inputs[0], inputs[1])
    let own = spans.indices.filter { spans[$0][2] >= 0 && Int(spans[$0][3]) == sequence }
    var best: (start: Int, end: Int, sum: Double)?
    for start in own {
      for end in own where end >= start && end - start < tokensMax {
        let sum = logits[start][0] + logits[end][1]
        if sum > best?.sum ?? -.infinity { best = (start, end, sum) }
      }
    }
    guard let best else { return [[[0, 0, 0]]] }
    let counted = own.contains(0) ? own : [0] + own
    func share(_ token: Int, _ which: Int) -> Double {
      1 / counted.reduce(0) { $0 + exp(logits[$1][which] - logits[token][which]) }
    }
    return [[[spans[best.start][0], spans[best.end][1], share(best.start, 0) * share(best.end, 1)]]]
  }
}

extension OperationContext {
  /// Checks that the two inputs are of this type, and what each token covers.
  func check(tokens: ValueType) throws(GraphFault) {
    let spans = ValueType(.int32, [4], per: .token)
    for (input, expected) in zip(inputs, [tokens, spans]) where input != expected {
      throw fault("expected \(expected.words) as input, found \(input.words)")
    }
  }
}
