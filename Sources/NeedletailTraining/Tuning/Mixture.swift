internal import NeedletailCore
internal import NeedletailEngine

/// Weights of several models whose answers are averaged, chosen as Caruana et al. (2004) do: the model is added that
/// improves the mixture most, again and again, and a model that was added twice weighs twice.
struct Mixture: Equatable, Sendable {
  struct Member: Equatable, Sendable {
    /// Index among the candidates.
    var candidate: Int
    var weight: Double
  }

  /// Weights add up to 1; heaviest first.
  var members: [Member]
  var loss: Double

  /// Rounds in which a model is added.
  private static let rounds = 40

  /// - Parameters:
  ///   - answers: of each candidate, for the same rows; at least one candidate.
  ///   - membersMax: models in the mixture at most.
  ///   - loss: of answers.
  static func choose(_ answers: [[Float]], membersMax: Int, loss: ([Float]) -> Double) -> Mixture {
    var sum = [Float](repeating: 0, count: answers[0].count)
    var counts = [Int](repeating: 0, count: answers.count)
    var best: (loss: Double, counts: [Int])?
    var mixed = sum
    for round in 1...rounds {
      var step: (loss: Double, candidate: Int)?
      let isFull = counts.count { $0 > 0 } >= membersMax
      for candidate in answers.indices where !isFull || counts[candidate] > 0 {
        let scale = 1 / Float(round)
        for index in mixed.indices { mixed[index] = (sum[index] + answers[candidate][index]) * scale }
        let found = loss(mixed)
        if step.map({ found < $0.loss }) ?? true { step = (found, candidate) }
      }
      guard let step else { break }
      counts[step.candidate] += 1
      for index in sum.indices { sum[index] += answers[step.candidate][index] }
      if best.map({ step.loss < $0.loss }) ?? true { best = (step.loss, counts) }
    }
    let chosen = best ?? (.infinity, [1] + [Int](repeating: 0, count: answers.count - 1))
    let total = Double(chosen.counts.reduce(0, +))
    let members = chosen.counts.indices.filter { chosen.counts[$0] > 0 }
      .map { Member(candidate: $0, weight: Double(chosen.counts[$0]) / total) }
    return Mixture(members: members.sorted { ($1.weight, $0.candidate) < ($0.weight, $1.candidate) }, loss: chosen.loss)
  }

  /// The same without its lightest model.
  func withoutLightest() -> Mixture {
    let kept = members.dropLast()
    let total = kept.reduce(0) { $0 + $1.weight }
    return Mixture(members: kept.map { Member(candidate: $0.candidate, weight: $0.weight / total) }, loss: .nan)
  }
}

/// Several fitted models as one graph: each with its own preprocessing, their answers averaged.
struct MixedModel: FittedModel {
  struct Member: Sendable {
    var model: any FittedModel
    var weight: Double
    /// Preprocessing that the model was fitted with.
    var preprocessing: Preprocessing
    /// True where the model takes f32, also in a graph that is bound in f64.
    var takesFloat32: Bool
    /// Number that is the same for members with the same preprocessing.
    var arm: Int
    /// Name for people.
    var name: String
  }

  let members: [Member]
  /// Arm whose preprocessing the graph begins with.
  let arm: Int
  let classCount: Int
  /// Bounds of what each member answers; nil: any number.
  ///
  /// A network or a linear model extrapolates: for one diamond of 59 mm, a slip of the pen, a network said 120,000 where
  /// the dearest costs 19,000, and one such row of 8,091 cost the whole mixture a fifth of its accuracy.
  var range: ClosedRange<Float>?

  var notes: [String] {
    var shares: [(name: String, weight: Double)] = []
    for member in members {
      if shares.last?.name == member.name {
        shares[shares.count - 1].weight += member.weight
      } else {
        shares.append((member.name, member.weight))
      }
    }
    let parts = shares.map { "\(Figures.fixed($0.weight * 100, 0)) % \($0.name)" }
    return ["mean of \(members.count) models: " + parts.joined(separator: ", ")]
  }

  func export(into graph: inout GraphBuilder, input: Int) throws(TrainingError) -> OutputHead {
    /// By arm: the preprocessed row, and the terms of texts.
    var inputs = [arm: (row: input, terms: graph.terms)]
    var sum: Int?
    for (index, member) in members.enumerated() {
      let value: Int
      if let known = inputs[member.arm] {
        (value, graph.terms) = (known.row, known.terms)
      } else {
        var own = try member.preprocessing.export(into: &graph)
        // The graph is bound in f64, and a preprocessing without a scaling leaves it so.
        if member.takesFloat32, graph.values[own].type.element != .float32 {
          own = try graph.addIdentity(name: "rounded\(index + 1)", from: own)
        }
        inputs[member.arm] = (own, graph.terms)
        value = own
      }
      let head = try member.model.export(into: &graph, input: value)
      var answers = try graph.addAnswers(of: head, name: "model\(index + 1)")
      if let range {
        answers = try graph.add(
          Clip(low: [range.lowerBound], high: [range.upperBound]), name: "held\(index + 1)", from: answers)
      }
      let columns = graph.columns(of: answers)
      let weighted = try graph.add(
        Affine(
          scaling: .standardise, offset: [Float](repeating: 0, count: columns),
          scale: [Float](repeating: Float(member.weight), count: columns)),
        name: "share\(index + 1)", from: answers)
      if let before = sum {
        sum = try graph.add(Add(), name: "sum\(index + 1)", from: before, weighted)
      } else {
        sum = weighted
      }
    }
    guard let sum else { throw .fit("mixture: expected a model, found none") }
    return classCount == 0 ? .number(sum) : .probabilities(sum)
  }
}

/// Stands for a mixture in the places where a model's family is named.
struct MixtureFamily: ModelFamily {
  let name = "mixture"
  let summary = "several models whose answers are averaged."
  let tasks: Set<ModelGraph.Task> = [.classification, .regression]

  func fit(_ context: FitContext<FeatureColumns>) throws(TrainingError) -> any FittedModel {
    throw .fit("mixture: expected the models of a search, found rows; use needletail-trainer tune")
  }
}
