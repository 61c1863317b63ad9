internal import NeedletailCore
internal import NeedletailEngine

/// Decides which layers of an encoder become int8: all of them if the answers to the calibration texts stay close
/// enough to those of fp32; else the most damaging ones go back to fp32, one after the other.
struct EncoderQuantisation {
  struct Decision {
    var graph: ModelGraph
    /// Agreement with fp32; nil for fp32 itself.
    var similarity: AnswerSimilarity?
    /// One sentence for people and for the lineage.
    var reason: String
  }

  let definition: ModelDefinition
  let rows: [[Cell]]
  /// Answers of fp32 to these rows.
  let reference: [Double]
  let width: Int
  let kind: AnswerSimilarity.Kind

  /// - Throws: `TrainingError` where a plan cannot be compiled, or refuses a row.
  func decide() throws(TrainingError) -> Decision {
    let layers = Quantiser.layers(of: definition.graph)
    var chosen = Set(layers)
    let whole = try measure(chosen)
    if whole.passes {
      return decision(
        chosen, whole, "int8 in all \(layers.count) layers: \(whole.words) (at least \(kind.least) asked for)")
    }
    var damages: [(layer: Int, similarity: Double)] = []
    for layer in layers { damages.append((layer, try measure([layer]).mean)) }
    for (layer, _) in damages.sorted(by: { ($0.similarity, $0.layer) < ($1.similarity, $1.layer) }) {
      chosen.remove(layer)
      if chosen.isEmpty { break }
      let found = try measure(chosen)
      guard found.passes else { continue }
      let kept = layers.filter { !chosen.contains($0) }.map { definition.graph.nodes[$0].name }
      return decision(
        chosen, found,
        "int8 in \(chosen.count) of \(layers.count) layers, fp32 in \(kept.joined(separator: ", ")): \(found.words) (at least \(kind.least) asked for)"
      )
    }
    return Decision(
      graph: definition.graph, similarity: nil,
      reason: "fp32: with int8 \(whole.words), less than the \(kind.least) asked for, and no choice of layers passed")
  }

  private func decision(_ layers: Set<Int>, _ similarity: AnswerSimilarity, _ reason: String) -> Decision {
    Decision(graph: Quantiser.quantise(definition.graph, layers: layers), similarity: similarity, reason: reason)
  }

  private func measure(_ layers: Set<Int>) throws(TrainingError) -> AnswerSimilarity {
    var changed = definition
    changed.graph = Quantiser.quantise(definition.graph, layers: layers)
    let answers = try EncoderAnswers(changed).numbers(for: rows)
    return AnswerSimilarity(answers, reference, width: width, kind: kind)
  }
}

/// A compiled encoder and the numbers that it answers with.
struct EncoderAnswers {
  let model: CompiledModel

  init(_ definition: ModelDefinition) throws(TrainingError) {
    do throws(PlanError) { model = try CompiledModel(definition) } catch {
      throw TrainingError(.fit, "compiling the model: \(error)")
    }
  }

  /// Output that holds the embedding, the probabilities or the predicted numbers.
  var output: (name: String, columns: Int) {
    let outputs = model.plan.outputs
    let place = outputs.firstIndex { $0.kind == .number } ?? 0
    return (outputs[place].name, outputs[place].columns)
  }

  var kind: AnswerSimilarity.Kind {
    switch output.name {
    case AnswerNames.probabilities: .probabilities
    case AnswerNames.embedding: .vectors
    case AnswerNames.answer: .places(stride: 3)
    case AnswerNames.entities: .places(stride: 4)
    default: .numbers
    }
  }

  /// Numbers of all rows, one after the other.
  func numbers(for rows: [[Cell]]) throws(TrainingError) -> [Double] {
    let answers: [(name: String, answer: GoldenSample.Answer)]
    do throws(ServingError) { answers = try model.answers(for: rows) } catch {
      throw .importing("sample texts: expected texts that the model answers, found \(error.message)")
    }
    for case (output.name, .numbers(let numbers)) in answers { return numbers }
    preconditionFailure("an encoder answers with numbers")
  }
}
