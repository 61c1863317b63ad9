internal import NeedletailCore

/// Targets of rows, and the weights by which they count in a loss.
struct LearningTargets {
  let values: [Double]
  let weights: [Float]
  /// Sum of the weights.
  let total: Double

  /// - Parameters:
  ///   - weights: one a row; none: all count alike.
  ///   - unit: weight of a row that counts as 1.
  init(_ values: [Double], _ weights: [Float], unit: Double) {
    self.values = values
    self.weights =
      weights.isEmpty ? [Float](repeating: 1, count: values.count) : weights.map { Float(Double($0) / unit) }
    total = self.weights.reduce(0) { $0 + Double($1) }
  }

  /// Mean loss, and accuracy or R².
  ///
  /// - Parameters:
  ///   - sum: weighted losses of all rows.
  ///   - correct: rows whose class was right; of a regression none.
  func figures(sum: Double, correct: Int, isRegression: Bool) -> (loss: Double, metric: Double) {
    let loss = sum / total
    guard isRegression else { return (loss, Double(correct) / Double(values.count)) }
    let pairs = zip(values, weights)
    let mean = pairs.reduce(0) { $0 + $1.0 * Double($1.1) } / total
    let spread = pairs.reduce(0) { $0 + Double($1.1) * ($1.0 - mean) * ($1.0 - mean) } / total
    return (loss, spread > 0 ? 1 - loss / spread : 0)
  }
}

/// The epoch with the smallest validation loss so far.
struct BestEpoch {
  let parameters: FloatBuffer
  var loss = Double.infinity
  var metric: Double?
  /// 0: none yet.
  var epoch = 0

  init(parameterCount: Int) { parameters = FloatBuffer(count: parameterCount) }

  /// Takes an epoch that is better, and the first parameters of a network with it.
  mutating func take(_ epoch: Int, _ found: (loss: Double, metric: Double), _ network: FloatBuffer) {
    guard found.loss < loss else { return }
    (loss, metric, self.epoch) = (found.loss, found.metric, epoch)
    parameters.start.update(from: network.start, count: parameters.count)
  }

  func write(_ writer: inout ByteWriter) {
    writer.add(parameters)
    writer.add(loss)
    writer.add(metric ?? .nan)
    writer.add(UInt64(epoch))
  }

  mutating func read(_ reader: inout ByteReader) -> Bool {
    guard reader.fill(parameters), let loss = reader.double(), let metric = reader.double(), let epoch = reader.count()
    else { return false }
    (self.loss, self.metric, self.epoch) = (loss, metric.isNaN ? nil : metric, epoch)
    return true
  }
}

extension TrainingError {
  /// The end of a training whose numbers left all bounds.
  ///
  /// - Parameters:
  ///   - what: what is not finite.
  ///   - learningRate: the highest of the training.
  static func diverged(
    _ what: String, _ value: Double, epoch: Int, batch: Int? = nil, learningRate: Double
  ) -> TrainingError {
    let place = batch.map { ", batch \($0)" } ?? ""
    return .fit(
      "epoch \(epoch)\(place): expected \(what) to be finite, found \(value); "
        + "lower training.learning_rate (now \(Figures.short(learningRate))) or set training.gradient_clip")
  }
}
