/// The trained network as the graph wants it.
extension Network {
  /// Weights [outputs, columns] and bias of every layer. Batch normalisation is folded into them, embeddings into the
  /// first layer, and the scale of the targets into the last: a server computes plain layers.
  ///
  /// - Parameter rows: form of the rows that were learned from; it says where their columns stand.
  func exportLayers(scale: TargetScale, rows: CodedRows) -> [(weights: Matrix, bias: [Float])] {
    layers.indices.map { index in
      let layer = layers[index]
      let columns = index == 0 ? rows.columns : layer.inputs
      var (factors, shifts) = folded(index)
      if isRegression, index == layers.count - 1 {
        factors = factors.map { $0 * scale.scale }
        shifts = shifts.map { $0 * scale.scale + scale.offset }
      }
      var weights = Matrix(rows: layer.outputs, columns: columns)
      let start = parameters.start
      func weight(_ input: Int, _ output: Int) -> Double {
        Double(start[layer.weights + input * layer.stride + output])
      }
      for output in 0..<layer.outputs {
        let factor = factors[output]
        guard index == 0 else {
          for input in 0..<columns { weights[output, input] = Float(weight(input, output) * factor) }
          continue
        }
        for (input, place) in rows.places.enumerated() {
          weights[output, place] = Float(weight(input, output) * factor)
        }
        for (category, source) in zip(categories, rows.categories) {
          for (level, place) in source.columns.enumerated() {
            let row = start + category.offset + level * category.stride
            guard let inputs = category.inputs else {
              weights[output, place] = Float(Double(row[output]) * factor)
              continue
            }
            let sum = inputs.enumerated().reduce(0.0) { $0 + Double(row[$1.offset]) * weight($1.element, output) }
            weights[output, place] = Float(sum * factor)
          }
        }
      }
      return (weights, shifts.map { Float($0) })
    }
  }

  /// Factors and shifts that turn x · W into what batch normalisation makes of x · W + b.
  private func folded(_ index: Int) -> (factors: [Double], shifts: [Double]) {
    let (layer, start) = (layers[index], parameters.start)
    let bias = (0..<layer.outputs).map { Double(start[layer.bias + $0]) }
    guard let norm = layer.norm else { return ([Double](repeating: 1, count: layer.outputs), bias) }
    let factors = (0..<layer.outputs).map { output in
      Double(start[norm.scale + output])
        / (Double(start[norm.variance + output]) + Double(Self.normEpsilon)).squareRoot()
    }
    return (
      factors,
      (0..<layer.outputs).map { output in
        (bias[output] - Double(start[norm.mean + output])) * factors[output] + Double(start[norm.shift + output])
      }
    )
  }

  /// Added to variances before their root is taken, as in PyTorch.
  static let normEpsilon: Float = 1e-5
}
