internal import NeedletailCore

extension SpanOutput {
  /// The output of a graph that an operation for places in texts writes: ``Entities``, or ``AnswerSpan``.
  ///
  /// - Returns: nil where there is none, or several, or the graph reads no text as tokens.
  init?(_ graph: ModelGraph) {
    guard let texts = graph.textInput,
      let tokenize = graph.nodes.lazy.compactMap({ $0.operation as? Tokenize }).first
    else { return nil }
    var found: [SpanOutput] = []
    for (index, output) in graph.outputs.enumerated() where output.kind == .number {
      guard let node = graph.nodes.first(where: { $0.outputs.contains(output.value) }) else { continue }
      let (text, layout): (Int?, Layout)
      switch node.operation {
      // Places of a pair's entities do not say which text they are in.
      case let entities as Entities:
        (text, layout) = (tokenize.second == nil ? tokenize.column : nil, .entities(entities.entitiesMax))
      case let answer as AnswerSpan:
        (text, layout) = (answer.sequence == 0 ? tokenize.column : tokenize.second, .answer)
      default: continue
      }
      guard let text else { continue }
      found.append(SpanOutput(output: index, text: text, textsPerRow: graph.values[texts].columns, layout: layout))
    }
    guard found.count == 1 else { return nil }
    self = found[0]
  }
}
