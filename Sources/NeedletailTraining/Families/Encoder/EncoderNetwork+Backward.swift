internal import CNeedletailTraining
internal import NeedletailBLAS
internal import NeedletailEngine

/// The loss of a batch, and its derivatives.
extension EncoderNetwork {
  /// Loss of the rows just run: cross-entropy of softmax for classes, squared error for a number.
  ///
  /// The derivative of the sum divided by `stepRows` is kept for ``backward(key:)``: a step may take several batches.
  ///
  /// - Parameters:
  ///   - targets: class indices, or numbers; one a row.
  ///   - weights: one a row, by which it counts in the loss.
  ///   - stepRows: rows of all batches of the step.
  /// - Returns: the sum over the rows, and how many classes were right.
  func loss(targets: [Double], weights: [Float], stepRows: Int) -> (sum: Double, correct: Int) {
    let stride = logitsStride
    guard isRegression else {
      // The kernel divides by the rows of this batch.
      let part = Float(rows) / Float(stepRows)
      var correct = 0
      let sum = net.pointee.softmax_loss(
        logits.start, rows, outputs, stride, targets, weights.prefix(rows).map { $0 * part }, logitsDelta.start,
        &correct)
      return (sum / Double(part), correct)
    }
    var sum = 0.0
    for row in 0..<rows {
      let error = Double(logits.start[row * stride]) - targets[row]
      sum += Double(weights[row]) * error * error
      logitsDelta.start[row * stride] = Float(2 * error) * (weights[row] / Float(stepRows))
    }
    return (sum, 0)
  }

  /// Adds the derivatives of the loss just taken to those of the parameters that learn.
  ///
  /// - Parameter key: as in the runs before.
  func backward(key: UInt64?) {
    backwardHead(key)
    guard recipe.mode != .frozen else { return }
    let kernels = self.kernels.pointee
    if recipe.pooling == .mean {
      nt_transformer_pool_mean_slope(pooledDelta.start, width, starts, rows, width, delta.start)
    } else {
      delta.start.update(repeating: 0, count: tokens * width)
      for row in 0..<rows where starts[row] < starts[row + 1] {
        (delta.start + starts[row] * width).update(from: pooledDelta.start + row * width, count: width)
      }
    }
    let tablesLearn = parameters.learns(layout.words)
    for layer in (0..<configuration.layers).reversed() {
      if layerStates.count < configuration.layers, layer < configuration.layers - 1 { runLayer(layer, key: key) }
      backwardLayer(layer, key, needsInput: layer > 0 || tablesLearn)
    }
    guard tablesLearn, let words = parameters.derivatives(layout.words),
      let positions = parameters.derivatives(layout.positions)
    else { return }
    var drop = dropout(.tables, key)
    nt_transformer_drop(&drop, delta.start, tokens, width, width, 0)
    var norm = self.norm(layout.tablesNorm, tablesNormal, tablesInverse)
    kernels.norm_slope(
      &norm, delta.start, parameters.derivatives(layout.tablesNorm.scale),
      parameters.derivatives(layout.tablesNorm.shift))
    nt_transformer_look_up_slope(
      delta.start, ids, places, types, tokens, width, words, positions, layout.types.flatMap(parameters.derivatives))
  }

  private func backwardHead(_ key: UInt64?) {
    let (kernels, stride, scores) = (self.kernels.pointee, logitsStride, layout.scores)
    guard let weights = parameters.derivatives(scores.weights), let bias = parameters.derivatives(scores.bias) else {
      return
    }
    BLAS.multiply(
      .init(logitsDelta.start, stride: stride, isTransposed: true), .init(vector.start, stride: width), into: weights,
      stride: width, rows: outputs, columns: width, depth: rows, kept: 1)
    kernels.add_column_sums(logitsDelta.start, rows, outputs, stride, bias)
    let input = layout.hidden == nil ? pooledDelta : vectorDelta
    BLAS.multiply(
      .init(logitsDelta.start, stride: stride), .init(parameters.start(scores.weights), stride: width),
      into: input.start, stride: width, rows: rows, columns: width, depth: outputs)
    var drop = dropout(.scores, key)
    nt_transformer_drop(&drop, input.start, rows, width, width, 0)
    guard let hidden = layout.hidden else { return }
    net.pointee.slope(hiddenActivation, hiddenSums.start, vectorDelta.start, Network.padded(rows * width))
    addGradient(of: hidden, by: vectorDelta.start, pooled.start, rows: rows)
    writeInput(of: hidden, by: vectorDelta.start, to: pooledDelta.start, rows: rows)
  }

  /// Turns `delta` from the derivatives by what a layer writes into those by what it reads.
  private func backwardLayer(_ index: Int, _ key: UInt64?, needsInput: Bool) {
    let (kernels, layer) = (self.kernels.pointee, layout.layers[index])
    let state = layerStates[index % layerStates.count]
    let input = states[index % states.count]
    let count = tokens * width
    var norm = self.norm(layer.secondNorm, state.secondNormal, state.secondInverse)
    kernels.norm_slope(
      &norm, delta.start, parameters.derivatives(layer.secondNorm.scale), parameters.derivatives(layer.secondNorm.shift)
    )
    residual.start.update(from: delta.start, count: count)
    var drop = dropout(.outer(index), key)
    backwardBottleneck(layer.outerBottleneck, state.outerBottleneck)
    nt_transformer_drop(&drop, delta.start, tokens, width, width, 0)
    addGradient(of: layer.outer, by: delta.start, state.inner.start, rows: tokens)
    writeInput(of: layer.outer, by: delta.start, to: wide.start, rows: tokens)
    let activation = UInt32(configuration.activation.rawValue)
    share(tokens * configuration.innerWidth) { range in
      self.net.pointee.slope(
        activation, state.innerSums.start + range.lowerBound, self.wide.start + range.lowerBound, range.count)
    }
    addGradient(of: layer.inner, by: wide.start, state.middle.start, rows: tokens)
    writeInput(of: layer.inner, by: wide.start, to: delta.start, rows: tokens)
    kernels.add(delta.start, residual.start, count)

    norm = self.norm(layer.firstNorm, state.firstNormal, state.firstInverse)
    kernels.norm_slope(
      &norm, delta.start, parameters.derivatives(layer.firstNorm.scale), parameters.derivatives(layer.firstNorm.shift))
    residual.start.update(from: delta.start, count: count)
    drop = dropout(.output(index), key)
    backwardBottleneck(layer.outputBottleneck, state.outputBottleneck)
    nt_transformer_drop(&drop, delta.start, tokens, width, width, 0)
    // In front of the first attention no bottleneck stands.
    guard needsInput || recipe.mode != .adapters else { return }
    addGradient(of: layer.output, by: delta.start, state.context.start, rows: tokens)
    writeInput(of: layer.output, by: delta.start, to: spare.start, rows: tokens)
    backwardAttention(layer, state, dropout(.attention(index), key))
    addGradient(of: layer.parts, by: wide.start, input.start, rows: tokens)
    guard needsInput else { return }
    writeInput(of: layer.parts, by: wide.start, to: delta.start, rows: tokens)
    kernels.add(delta.start, residual.start, count)
  }

  /// input = delta · weights, or with `kept` of 1 that added to it.
  func writeInput(
    of layer: EncoderParameters.Linear, by delta: UnsafePointer<Float>, to input: UnsafeMutablePointer<Float>,
    rows: Int,
    kept: Float = 0
  ) {
    let (outputs, inputs) = (layer.weights.rows, layer.weights.columns)
    multiply(
      .init(delta, stride: outputs), .init(parameters.start(layer.weights), stride: inputs), into: input,
      stride: inputs, rows: rows, columns: inputs, depth: outputs, kept: kept)
  }

  /// Adds deltaᵀ · input to the derivatives of weights that learn, or of the adapters that change them.
  func addGradient(
    of layer: EncoderParameters.Linear, by delta: UnsafePointer<Float>, _ input: UnsafePointer<Float>, rows: Int
  ) {
    let (outputs, inputs) = (layer.weights.rows, layer.weights.columns)
    if let bias = parameters.derivatives(layer.bias) {
      kernels.pointee.add_column_sums(delta, rows, outputs, outputs, bias)
    }
    if let weights = parameters.derivatives(layer.weights) {
      multiply(
        .init(delta, stride: outputs, isTransposed: true), .init(input, stride: inputs), into: weights, stride: inputs,
        rows: outputs, columns: inputs, depth: rows, kept: 1)
      return
    }
    let range = layer.weights.offset..<layer.weights.offset + layer.weights.count
    for adapter in parameters.adapters where range.contains(adapter.target.offset) {
      let first = (adapter.target.offset - layer.weights.offset) / inputs
      addGradient(of: adapter, by: .init(delta + first, stride: outputs), .init(input, stride: inputs), rows: rows)
    }
  }

  /// Adds the derivatives of an adapter's matrices. The weights are base + scale · B · A, so those of A are
  /// scale · (delta · B)ᵀ · input and those of B scale · deltaᵀ · (input · Aᵀ): narrow products, and none as large as the
  /// weights.
  private func addGradient(
    of adapter: EncoderParameters.Adapter, by delta: BLAS.Operand, _ input: BLAS.Operand, rows: Int
  ) {
    guard let a = parameters.derivatives(adapter.a), let b = parameters.derivatives(adapter.b) else { return }
    let (outputs, inputs, rank) = (adapter.target.rows, adapter.target.columns, adapter.b.columns)
    let scale = parameters.adapterScale
    multiply(
      delta, .init(parameters.start(adapter.b), stride: rank), into: narrow.start, stride: rank, rows: rows,
      columns: rank, depth: outputs)
    BLAS.multiply(
      .init(narrow.start, stride: rank, isTransposed: true), input, into: a, stride: inputs, rows: rank,
      columns: inputs, depth: rows, factor: scale, kept: 1)
    multiply(
      input, .init(parameters.start(adapter.a), stride: inputs, isTransposed: true), into: narrow.start, stride: rank,
      rows: rows, columns: rank, depth: inputs)
    BLAS.multiply(
      delta.transposed, .init(narrow.start, stride: rank), into: b, stride: rank, rows: outputs, columns: rank,
      depth: rows, factor: scale, kept: 1)
  }
}
