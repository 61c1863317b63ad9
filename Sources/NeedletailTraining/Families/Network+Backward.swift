internal import CNeedletailTraining
internal import NeedletailEngine

/// The loss of a batch, and its derivatives.
extension Network {
  /// Loss of the rows just run: cross-entropy of softmax for classes, squared error for a number. The derivative of
  /// the sum divided by the rows, by the outputs, is kept for ``backward(rows:dropout:)``.
  ///
  /// - Parameters:
  ///   - targets: class indices, or numbers; one a row.
  ///   - weights: one a row, by which it counts in the loss.
  /// - Returns: the sum over the rows, and how many classes were right.
  func loss(
    targets: UnsafePointer<Double>, weights: UnsafePointer<Float>, rows: Int
  ) -> (sum: Double, correct: Int) {
    let stride = layers[layers.count - 1].stride
    let delta = deltas[layers.count].start
    guard isRegression else {
      var correct = 0
      let sum = kernels.pointee.softmax_loss(output, rows, outputColumns, stride, targets, weights, delta, &correct)
      return (sum, correct)
    }
    var sum = 0.0
    for row in 0..<rows {
      let error = Double(output[row * stride]) - targets[row]
      sum += Double(weights[row]) * error * error
      delta[row * stride] = Float(2 * error) * (weights[row] / Float(rows))
    }
    return (sum, 0)
  }

  /// Fills `gradient` with the derivative of the loss just taken.
  func backward(rows: Int, dropout: Float) {
    for index in layers.indices.reversed() {
      let layer = layers[index]
      let delta = deltas[index + 1].start
      let before = Self.padded(layer.inputs)
      if index < layers.count - 1 {
        let count = rows * layer.stride
        if dropout > 0 { kernels.pointee.multiply_elements(delta, masks[index].start, count) }
        kernels.pointee.slope(UInt32(layer.activation.rawValue), sums[index].start, delta, count)
      }
      if let norm = layer.norm {
        var job = self.job(norm, index, rows)
        kernels.pointee.norm_slope(&job, delta, gradient.start + norm.scale, gradient.start + norm.shift)
      } else {
        // Normalisation takes a bias off again: without a slope it stays 0.
        kernels.pointee.column_sums(delta, rows, layer.stride, gradient.start + layer.bias)
      }
      multiply(
        nt_net_product(
          a: activated[index].start, a_row: 1, a_depth: before, b: delta, b_stride: layer.stride,
          c: gradient.start + layer.weights, c_stride: layer.stride, initial: nil, rows: layer.inputs,
          columns: layer.stride, depth: rows))
      if index > 0 || categories.contains(where: { $0.inputs != nil }) {
        writeInputDelta(layer, delta, to: deltas[index].start, rows: rows)
      }
    }
    addCategoryGradients(rows)
  }

  private func writeInputDelta(
    _ layer: Layer, _ delta: UnsafeMutablePointer<Float>, to inputs: UnsafeMutablePointer<Float>, rows: Int
  ) {
    let before = Self.padded(layer.inputs)
    let weights = parameters.start + layer.weights
    // Whole blocks first; what is left of the last one is copied out of the way of what stands behind.
    let whole = layer.inputs / Int(NT_NET_LANES) * Int(NT_NET_LANES)
    kernels.pointee.transpose(weights, whole, layer.stride, layer.stride, transposed.start, before)
    for input in whole..<before {
      for output in 0..<layer.stride {
        transposed.start[output * before + input] = input < layer.inputs ? weights[input * layer.stride + output] : 0
      }
    }
    multiply(
      nt_net_product(
        a: delta, a_row: layer.stride, a_depth: 1, b: transposed.start, b_stride: before, c: inputs, c_stride: before,
        initial: nil, rows: rows, columns: before, depth: layer.outputs))
  }

  private func addCategoryGradients(_ rows: Int) {
    for (index, category) in categories.enumerated() {
      let own = gradient.start + category.offset
      own.update(repeating: 0, count: category.levels * category.stride)
      let source = category.inputs.map { deltas[0].start + $0.lowerBound } ?? deltas[1].start
      let (stride, width) = category.inputs.map { (inputStride, $0.count) } ?? (layers[0].stride, layers[0].stride)
      for row in 0..<rows {
        let code = Int(codes[row * categories.count + index])
        guard code >= 0 else { continue }
        let sum = own + code * category.stride
        for column in 0..<width { sum[column] += source[row * stride + column] }
      }
    }
  }
}
