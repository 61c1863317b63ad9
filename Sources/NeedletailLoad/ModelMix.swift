/// In which order models are asked: as often as their weights say, and spread evenly.
public struct ModelMix: Sendable, Equatable {
  /// Indices of models, to be repeated for ever.
  public let sequence: [Int]

  /// Longer sequences would only reproduce the weights more exactly.
  private static let lengthMax = 1000

  /// - Parameter weights: one a model, above 0.
  public init(weights: [Int]) {
    let sum = weights.reduce(0, +)
    // At least one turn for each.
    let weights = sum <= Self.lengthMax ? weights : weights.map { max(1, $0 * Self.lengthMax / sum) }
    let total = weights.reduce(0, +)
    // Smooth weighted round robin, as nginx does it: raise all by their weight, take the highest.
    var credit = [Int](repeating: 0, count: weights.count)
    sequence = (0..<total).map { _ in
      for index in weights.indices { credit[index] += weights[index] }
      let chosen = credit.indices.reduce(0) { credit[$1] > credit[$0] ? $1 : $0 }
      credit[chosen] -= total
      return chosen
    }
  }
}
