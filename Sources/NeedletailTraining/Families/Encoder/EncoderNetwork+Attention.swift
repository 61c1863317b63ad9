internal import CNeedletailTraining
internal import NeedletailBLAS

/// Attention among the tokens of each row, for each head by itself. Keys and values of a prefix stand in front of those of
/// the row.
extension EncoderNetwork {
  /// Where the numbers of one row and head begin.
  private struct Head {
    let tokens: Int
    /// The first token's columns of the head in query, key and value side by side.
    let query: UnsafeMutablePointer<Float>
    /// The same in the prefix; nil without.
    let prefixKeys: UnsafeMutablePointer<Float>?
    let prefixValues: UnsafeMutablePointer<Float>?
  }

  private func head(
    _ index: Int, _ layer: EncoderParameters.Layer, _ state: LayerState, first: Int, count: Int
  ) -> Head {
    let own = prefix > 0 ? layer.prefix : nil
    return Head(
      tokens: count, query: state.parts.start + first * 3 * width + index * headWidth,
      prefixKeys: own.map { parameters.start($0.keys) + index * headWidth },
      prefixValues: own.map { parameters.start($0.values) + index * headWidth })
  }

  func attend(_ layer: EncoderParameters.Layer, _ state: LayerState, _ dropout: nt_transformer_dropout) {
    eachRow { row, first, count, scratch in
      let stride = self.prefix + count
      for index in 0..<self.configuration.heads {
        let head = self.head(index, layer, state, first: first, count: count)
        self.probabilities(head, into: scratch)
        var drop = dropout
        nt_transformer_drop(&drop, scratch, count, stride, stride, self.firstFactor(row, index, count))
        let context = state.context.start + first * self.width + index * self.headWidth
        if let values = head.prefixValues {
          BLAS.multiply(
            .init(scratch, stride: stride), .init(values, stride: self.width), into: context, stride: self.width,
            rows: count, columns: self.headWidth, depth: self.prefix)
        }
        BLAS.multiply(
          .init(scratch + self.prefix, stride: stride), .init(head.query + 2 * self.width, stride: 3 * self.width),
          into: context, stride: self.width, rows: count, columns: self.headWidth, depth: count,
          kept: head.prefixValues == nil ? 0 : 1)
      }
    }
  }

  /// Number of a head's first factor of dropout.
  func firstFactor(_ row: Int, _ head: Int, _ count: Int) -> UInt64 {
    UInt64(pairs[row] * configuration.heads + head * count * (prefix + count))
  }

  /// softmax(q · kᵀ / √width), [tokens, prefix + tokens].
  private func probabilities(_ head: Head, into scratch: UnsafeMutablePointer<Float>) {
    let (count, stride) = (head.tokens, prefix + head.tokens)
    let factor = 1 / Float(headWidth).squareRoot()
    if let keys = head.prefixKeys {
      BLAS.multiply(
        .init(head.query, stride: 3 * width), .init(keys, stride: width, isTransposed: true), into: scratch,
        stride: stride, rows: count, columns: prefix, depth: headWidth, factor: factor)
    }
    BLAS.multiply(
      .init(head.query, stride: 3 * width), .init(head.query + width, stride: 3 * width, isTransposed: true),
      into: scratch + prefix, stride: stride, rows: count, columns: count, depth: headWidth, factor: factor)
    kernels.pointee.softmax(scratch, count, stride, stride)
  }

  /// Writes the derivatives by query, key and value to `wide`, by those of the context in `spare`, and adds those by a
  /// prefix.
  func backwardAttention(_ layer: EncoderParameters.Layer, _ state: LayerState, _ dropout: nt_transformer_dropout) {
    let (width, headWidth, prefix) = (width, headWidth, prefix)
    eachRow { row, first, count, scratch in
      let stride = prefix + count
      let slopes = scratch + count * stride
      for index in 0..<self.configuration.heads {
        let head = self.head(index, layer, state, first: first, count: count)
        let query = head.query
        let own = self.wide.start + first * 3 * width + index * headWidth
        let context = self.spare.start + first * width + index * headWidth
        self.probabilities(head, into: scratch)
        // By the probabilities: those of the context times the values, where nothing was switched off.
        if let values = head.prefixValues {
          BLAS.multiply(
            .init(context, stride: width), .init(values, stride: width, isTransposed: true), into: slopes,
            stride: stride, rows: count, columns: prefix, depth: headWidth)
        }
        BLAS.multiply(
          .init(context, stride: width), .init(query + 2 * width, stride: 3 * width, isTransposed: true),
          into: slopes + prefix, stride: stride, rows: count, columns: count, depth: headWidth)
        self.slopes(row, index, count, scratch, slopes, dropout)
        BLAS.multiply(
          .init(scratch + prefix, stride: stride, isTransposed: true), .init(context, stride: width),
          into: own + 2 * width, stride: 3 * width, rows: count, columns: headWidth, depth: count)
        BLAS.multiply(
          .init(slopes + prefix, stride: stride), .init(query + width, stride: 3 * width), into: own,
          stride: 3 * width, rows: count, columns: headWidth, depth: count)
        BLAS.multiply(
          .init(slopes + prefix, stride: stride, isTransposed: true), .init(query, stride: 3 * width),
          into: own + width, stride: 3 * width, rows: count, columns: headWidth, depth: count)
        guard let keys = head.prefixKeys else { continue }
        BLAS.multiply(
          .init(slopes, stride: stride), .init(keys, stride: width), into: own, stride: 3 * width, rows: count,
          columns: headWidth, depth: prefix, kept: 1)
        let delta = self.prefixDelta.start + row * 2 * prefix * width + index * headWidth
        BLAS.multiply(
          .init(slopes, stride: stride, isTransposed: true), .init(query, stride: 3 * width), into: delta,
          stride: width, rows: prefix, columns: headWidth, depth: count)
        BLAS.multiply(
          .init(scratch, stride: stride, isTransposed: true), .init(context, stride: width),
          into: delta + prefix * width, stride: width, rows: prefix, columns: headWidth, depth: count)
      }
    }
    addPrefixGradient(layer)
  }

  /// Turns the derivatives by probabilities into those by scores, and drops what dropout drops of the probabilities.
  private func slopes(
    _ row: Int, _ head: Int, _ count: Int, _ probabilities: UnsafeMutablePointer<Float>,
    _ slopes: UnsafeMutablePointer<Float>, _ dropout: nt_transformer_dropout
  ) {
    let (stride, factors) = (prefix + count, firstFactor(row, head, count))
    var drop = dropout
    nt_transformer_drop(&drop, slopes, count, stride, stride, factors)
    kernels.pointee.softmax_slope(probabilities, slopes, count, stride, stride, 1 / Float(headWidth).squareRoot())
    nt_transformer_drop(&drop, probabilities, count, stride, stride, factors)
  }

  /// Adds the derivatives of the rows to those of the prefix, one row after the other: threads share rows, and their
  /// number changes no bit of a sum.
  private func addPrefixGradient(_ layer: EncoderParameters.Layer) {
    guard let own = layer.prefix, let keys = parameters.derivatives(own.keys),
      let values = parameters.derivatives(own.values)
    else { return }
    let count = prefix * width
    for row in 0..<rows where starts[row] < starts[row + 1] {
      let delta = prefixDelta.start + row * 2 * count
      kernels.pointee.add(keys, delta, count)
      kernels.pointee.add(values, delta + count, count)
    }
  }

  /// Has the prefix of each layer begin with keys and values that the body computes for tokens of some texts: Li and Liang
  /// find that words as a beginning train better than random numbers.
  func beginPrefix(_ texts: TokenizedTexts) {
    guard recipe.prefix > 0 else { return }
    prefix = 0
    defer { prefix = recipe.prefix }
    load(texts, rows: Array(0..<min(extent.rows, texts.count))[...])
    guard tokens > 0 else { return }
    runBody(key: nil) { index in
      guard let own = layout.layers[index].prefix else { return }
      let parts = layerStates[index % layerStates.count].parts.start
      for place in 0..<recipe.prefix {
        let token = parts + place * tokens / recipe.prefix * 3 * width
        (parameters.start(own.keys) + place * width).update(from: token + width, count: width)
        (parameters.start(own.values) + place * width).update(from: token + 2 * width, count: width)
      }
    }
  }
}
