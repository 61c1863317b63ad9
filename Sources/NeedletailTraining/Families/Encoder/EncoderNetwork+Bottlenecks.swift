internal import CNeedletailTraining
internal import NeedletailEngine

/// Bottlenecks in the layers of an encoder: y = x + activation(x · downᵀ + b) · upᵀ + c.
extension EncoderNetwork {
  /// Numbers of a bottleneck that its derivatives need.
  struct BottleneckState {
    /// [tokens, width]
    let read: FloatBuffer
    /// [tokens, size]; in front of the activation, and behind it.
    let sums: FloatBuffer
    let inner: FloatBuffer
  }

  private var bottleneckActivation: UInt32 { UInt32(recipe.bottleneck.activation.rawValue) }

  /// Runs a bottleneck over `spare`, in place.
  func runBottleneck(_ bottleneck: EncoderParameters.Bottleneck?, _ state: BottleneckState?) {
    guard let bottleneck, let state else { return }
    state.read.start.update(from: spare.start, count: tokens * width)
    apply(bottleneck.down, spare.start, to: state.sums.start, rows: tokens)
    share(tokens * recipe.bottleneck.size) { range in
      self.net.pointee.activate(
        self.bottleneckActivation, state.sums.start + range.lowerBound, state.inner.start + range.lowerBound,
        range.count)
    }
    apply(bottleneck.up, state.inner.start, to: spare.start, rows: tokens, kept: 1)
  }

  /// Turns `delta` from the derivatives by what a bottleneck writes into those by what it reads.
  func backwardBottleneck(_ bottleneck: EncoderParameters.Bottleneck?, _ state: BottleneckState?) {
    guard let bottleneck, let state else { return }
    addGradient(of: bottleneck.up, by: delta.start, state.inner.start, rows: tokens)
    writeInput(of: bottleneck.up, by: delta.start, to: narrow.start, rows: tokens)
    share(tokens * recipe.bottleneck.size) { range in
      self.net.pointee.slope(
        self.bottleneckActivation, state.sums.start + range.lowerBound, self.narrow.start + range.lowerBound,
        range.count)
    }
    addGradient(of: bottleneck.down, by: narrow.start, state.read.start, rows: tokens)
    writeInput(of: bottleneck.down, by: narrow.start, to: delta.start, rows: tokens, kept: 1)
  }
}
