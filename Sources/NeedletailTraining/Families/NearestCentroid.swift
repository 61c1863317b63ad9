internal import NeedletailCore
internal import NeedletailEngine

/// Classification by the nearest class mean, as scikit-learn's `NearestCentroid` with equal priors.
///
/// The squared distance |x − c|² is |x|² − 2·x·c + |c|², and |x|² is the same for every class. One dense layer therefore
/// ranks the classes: x·c − |c|²/2. Divided by the variance σ² around the centroids, these numbers are the logits of
/// Gaussians with that one variance, so that their softmax are probabilities.
struct NearestCentroid: ModelFamily {
  let name = "nearest_centroid"
  let summary = "each row belongs to the class whose mean is nearest."
  let tasks: Set<ModelGraph.Task> = [.classification]
  let modelSettings = [
    Setting("metric", .choice(["euclidean"]), .text("euclidean"), "How distances are measured.")
  ]

  func fit(_ context: FitContext<Matrix>) throws(TrainingError) -> any FittedModel {
    let inputs = context.train.inputs
    let classes = context.train.targets.map { Int($0) }
    var centroids = [[Double]](
      repeating: [Double](repeating: 0, count: inputs.columns), count: context.classCount)
    var counts = [Double](repeating: 0, count: context.classCount)
    for (row, index) in classes.enumerated() {
      counts[index] += 1
      for column in 0..<inputs.columns { centroids[index][column] += Double(inputs[row, column]) }
    }
    for index in centroids.indices {
      for column in 0..<inputs.columns { centroids[index][column] /= counts[index] }
    }
    var squares = 0.0
    for (row, index) in classes.enumerated() {
      for column in 0..<inputs.columns {
        let distance = Double(inputs[row, column]) - centroids[index][column]
        squares += distance * distance
      }
    }
    let variance = squares / Double(inputs.rows * inputs.columns)
    return Fitted(centroids: centroids, variance: variance > 0 ? variance : 1)
  }

  struct Fitted: FittedModel {
    /// One a class, one number a column.
    let centroids: [[Double]]
    /// Mean squared distance to the own centroid, per column; 1 where every row is its class's centroid.
    let variance: Double

    var notes: [String] { ["\(centroids.count) centroids, deviation \(Figures.short(variance.squareRoot()))"] }

    func export(into graph: inout GraphBuilder, input: Int) -> OutputHead {
      // Distances do not change if the origin moves. Between the centroids the weights stay small, and a column of
      // large numbers that differ little, such as years, keeps its digits in fp32.
      let origin = centroids[0].indices.map { column in
        centroids.reduce(0) { $0 + $1[column] } / Double(centroids.count)
      }
      var weights: [Float] = []
      var bias: [Float] = []
      for centroid in centroids {
        let moved = zip(centroid, origin).map { $0 - $1 }
        weights += moved.map { Float($0 / variance) }
        let offset = zip(moved, origin).reduce(0) { $0 + $1.0 * ($1.1 + $1.0 / 2) }
        bias.append(Float(-offset / variance))
      }
      let matrix = Matrix(rows: centroids.count, columns: origin.count, elements: weights)
      return .logits(
        graph.addDense(name: "closeness", from: input, weights: matrix, bias: bias, activation: .identity))
    }
  }
}
