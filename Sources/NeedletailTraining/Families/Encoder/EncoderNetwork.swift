internal import CNeedletailTraining
internal import NeedletailBLAS
internal import NeedletailCore
internal import NeedletailEngine

/// An encoder with the layers behind it while it learns. Only the thread that trains may use it.
///
/// Tokens of a batch stand one after the other without padding. The formulas are those that ``EncoderBody`` builds a graph
/// of: tables, then layers of attention and of two dense layers, each with what it read added to it and normalised.
final class EncoderNetwork {
  /// Numbers of a layer that its derivatives need, [tokens, columns] each.
  struct LayerState {
    let parts: FloatBuffer
    let context: FloatBuffer
    let firstNormal: FloatBuffer
    let firstInverse: FloatBuffer
    let middle: FloatBuffer
    let innerSums: FloatBuffer
    let inner: FloatBuffer
    let secondNormal: FloatBuffer
    let secondInverse: FloatBuffer
    let outputBottleneck: BottleneckState?
    let outerBottleneck: BottleneckState?

    init(_ configuration: EncoderConfiguration, _ recipe: EncoderRecipe, tokens: Int) {
      func buffer(_ columns: Int) -> FloatBuffer { FloatBuffer(count: Network.padded(tokens * columns)) }
      let width = configuration.width
      (parts, context, firstNormal, firstInverse) = (buffer(3 * width), buffer(width), buffer(width), buffer(1))
      (middle, innerSums, inner) = (buffer(width), buffer(configuration.innerWidth), buffer(configuration.innerWidth))
      (secondNormal, secondInverse) = (buffer(width), buffer(1))
      func bottleneck(_ place: EncoderRecipe.AdapterPlace) -> BottleneckState? {
        guard recipe.mode == .adapters, recipe.bottleneck.places.contains(place) else { return nil }
        return BottleneckState(
          read: buffer(width), sums: buffer(recipe.bottleneck.size), inner: buffer(recipe.bottleneck.size))
      }
      (outputBottleneck, outerBottleneck) = (bottleneck(.output), bottleneck(.outer))
    }
  }

  /// Bounds of a batch.
  struct Extent {
    var rows: Int
    var tokens: Int
    /// Tokens of a row.
    var longest: Int
  }

  /// Places where numbers are switched off at random; each has factors of its own.
  enum DropoutSite {
    case tables, scores
    case attention(Int), output(Int), outer(Int)

    var number: UInt64 {
      switch self {
      case .tables: 0
      case .scores: 1
      case .attention(let layer): UInt64(3 * layer + 2)
      case .output(let layer): UInt64(3 * layer + 3)
      case .outer(let layer): UInt64(3 * layer + 4)
      }
    }
  }

  let configuration: EncoderConfiguration
  let recipe: EncoderRecipe
  let parameters: EncoderParameters
  let extent: Extent
  let outputs: Int
  let isRegression: Bool
  let threads: Int
  let kernels: UnsafePointer<nt_transformer_kernels> = nt_transformer_kernels_best()
  let net: UnsafePointer<nt_net_kernels> = nt_net_kernels_best()
  /// Parameters stand here for the time of a run.
  let layout: EncoderParameters.Layout

  // The batch.
  private(set) var rows = 0
  private(set) var tokens = 0
  private(set) var ids: [UInt32] = []
  private(set) var places: [UInt32] = []
  private(set) var types: [UInt8] = []
  private(set) var starts: [Int] = [0]
  /// Pairs of a token and what it attends to, in the rows before each.
  private(set) var pairs: [Int] = [0]
  /// Places in front of the tokens that these attend to.
  var prefix: Int

  // Numbers of the body.
  let tablesNormal: FloatBuffer
  let tablesInverse: FloatBuffer
  /// What each layer reads, and what the last one writes; two in turns where nothing of the body learns.
  let states: [FloatBuffer]
  /// One a layer, or one for all where they are computed again.
  let layerStates: [LayerState]
  let spare: FloatBuffer
  /// Two matrices of attention for each thread.
  let attention: [FloatBuffer]

  // Numbers behind the body, [rows, columns] each.
  let pooled: FloatBuffer
  let hiddenSums: FloatBuffer
  /// What the scores are taken of.
  let vector: FloatBuffer
  let logits: FloatBuffer

  // Derivatives.
  let logitsDelta: FloatBuffer
  let vectorDelta: FloatBuffer
  let pooledDelta: FloatBuffer
  let delta: FloatBuffer
  let residual: FloatBuffer
  let wide: FloatBuffer
  /// What stands between the two matrices of an adapter, [tokens, rank], or the two layers of a bottleneck.
  let narrow: FloatBuffer
  /// Derivatives by the keys and then the values of a layer's prefix, for each row by itself.
  let prefixDelta: FloatBuffer

  var width: Int { configuration.width }
  var headWidth: Int { configuration.width / configuration.heads }
  var logitsStride: Int { Network.padded(outputs) }

  /// - Parameters:
  ///   - parameters: made for the same configuration and recipe.
  ///   - extent: largest batch.
  ///   - threads: those that share large products, and the attention of the rows.
  init(
    _ configuration: EncoderConfiguration, _ recipe: EncoderRecipe, _ parameters: EncoderParameters, extent: Extent,
    outputs: Int, isRegression: Bool, threads: Int
  ) {
    self.configuration = configuration
    self.recipe = recipe
    self.parameters = parameters
    self.extent = extent
    self.outputs = outputs
    self.isRegression = isRegression
    self.threads = threads
    layout = parameters.layout
    prefix = recipe.prefix
    let (width, inner) = (configuration.width, configuration.innerWidth)
    func perToken(_ columns: Int) -> FloatBuffer { FloatBuffer(count: Network.padded(extent.tokens * columns)) }
    func perRow(_ columns: Int) -> FloatBuffer { FloatBuffer(count: Network.padded(extent.rows * columns)) }
    let bodyLearns = recipe.mode != .frozen
    (tablesNormal, tablesInverse) = (perToken(width), perToken(1))
    states = (0..<(bodyLearns ? configuration.layers + 1 : 2)).map { _ in perToken(width) }
    layerStates = (0..<(bodyLearns && !recipe.checkpointsLayers ? configuration.layers : 1)).map { _ in
      LayerState(configuration, recipe, tokens: extent.tokens)
    }
    spare = perToken(width)
    attention = (0..<max(threads, 1)).map { _ in
      FloatBuffer(count: 2 * extent.longest * (recipe.prefix + extent.longest))
    }
    (pooled, hiddenSums, vector) = (perRow(width), perRow(width), perRow(width))
    let stride = Network.padded(outputs)
    (logits, logitsDelta) = (perRow(stride), perRow(stride))
    (vectorDelta, pooledDelta) = (perRow(width), perRow(width))
    let none = FloatBuffer(count: 0)
    (delta, residual) = bodyLearns ? (perToken(width), perToken(width)) : (none, none)
    wide = bodyLearns ? perToken(max(3 * width, inner)) : none
    narrow = recipe.narrowColumns > 0 ? perToken(recipe.narrowColumns) : none
    prefixDelta = FloatBuffer(count: extent.rows * 2 * recipe.prefix * width)
  }

  /// Bytes that a training takes: parameters, derivatives, moments of Adam, the best weights, and the numbers of a batch.
  static func bytes(
    _ configuration: EncoderConfiguration, _ recipe: EncoderRecipe, _ sizes: EncoderParameters.Sizes, extent: Extent
  ) -> Int {
    let (width, inner, layers) = (configuration.width, configuration.innerWidth, configuration.layers)
    let bodyLearns = recipe.mode != .frozen
    let bottlenecks = recipe.mode == .adapters ? recipe.bottleneck.places.count : 0
    let layerNumbers = 3 * width + 4 * width + 2 * inner + 2 + bottlenecks * (width + 2 * recipe.bottleneck.size)
    let states = (bodyLearns ? layers + 1 : 2) * width + width + 1
    let kept = (bodyLearns && !recipe.checkpointsLayers ? layers : 1) * layerNumbers
    let slopes = (bodyLearns ? 2 * width + max(3 * width, inner) : 0) + recipe.narrowColumns
    let numbers = sizes.served + sizes.adapters + sizes.adapted + 4 * sizes.learning
    return 4
      * (numbers + extent.tokens * (states + width + kept + slopes) + extent.rows * (5 + 2 * recipe.prefix) * width)
  }

  // MARK: - the batch

  /// Takes over some rows of many texts.
  ///
  /// - Precondition: they are within the extent.
  func load(_ texts: TokenizedTexts, rows chosen: ArraySlice<Int>) {
    ids.removeAll(keepingCapacity: true)
    places.removeAll(keepingCapacity: true)
    types.removeAll(keepingCapacity: true)
    (starts, pairs) = ([0], [0])
    for row in chosen {
      let range = texts.tokens(of: row)
      ids += texts.ids[range]
      places += texts.places[range]
      types += texts.types[range]
      starts.append(ids.count)
      pairs.append(pairs[pairs.count - 1] + range.count * (prefix + range.count))
    }
    (rows, tokens) = (chosen.count, ids.count)
    precondition(rows <= extent.rows && tokens <= extent.tokens)
  }

  /// Takes over vectors of texts in place of their tokens.
  func load(_ vectors: [Float], rows chosen: ArraySlice<Int>) {
    rows = chosen.count
    precondition(rows <= extent.rows)
    vectors.withUnsafeBufferPointer { vectors in
      guard let start = vectors.baseAddress else { return }
      for (place, row) in chosen.enumerated() {
        (pooled.start + place * width).update(from: start + row * width, count: width)
      }
    }
  }

  /// Factors of a site; a key of nil switches nothing off.
  func dropout(_ site: DropoutSite, _ key: UInt64?) -> nt_transformer_dropout {
    guard let key, recipe.dropout > 0 else { return nt_transformer_dropout(key: 0, share: 0) }
    var mixer = SplitMix64(seed: key &+ site.number)
    return nt_transformer_dropout(key: mixer.next(), share: recipe.dropout)
  }

  /// Vectors of many texts, with nothing switched off.
  func vectors(of texts: TokenizedTexts) -> [Float] {
    var vectors: [Float] = []
    vectors.reserveCapacity(texts.count * width)
    let all = Array(0..<texts.count)
    for start in stride(from: 0, to: texts.count, by: extent.rows) {
      load(texts, rows: all[start..<min(start + extent.rows, texts.count)])
      runBody(key: nil)
      vectors += UnsafeBufferPointer(start: pooled.start, count: rows * width)
    }
    return vectors
  }

  // MARK: - forward

  /// Runs the body over the batch, and pools its tokens.
  ///
  /// - Parameters:
  ///   - key: says which numbers are switched off; nil: none.
  ///   - visit: called behind each layer.
  func runBody(key: UInt64?, visit: (Int) -> Void = { _ in }) {
    let kernels = self.kernels.pointee
    nt_transformer_look_up(
      parameters.start(layout.words), parameters.start(layout.positions), layout.types.map(parameters.start), ids,
      places, types, tokens, width, spare.start)
    var norm = self.norm(layout.tablesNorm, tablesNormal, tablesInverse)
    kernels.norm(&norm, spare.start, states[0].start)
    var drop = dropout(.tables, key)
    nt_transformer_drop(&drop, states[0].start, tokens, width, width, 0)
    for layer in 0..<configuration.layers {
      runLayer(layer, key: key)
      visit(layer)
    }
    let last = states[configuration.layers % states.count]
    guard recipe.pooling == .first else {
      nt_transformer_pool_mean(last.start, starts, rows, width, pooled.start, width)
      return
    }
    for row in 0..<rows {
      let vector = pooled.start + row * width
      if starts[row] < starts[row + 1] {
        vector.update(from: last.start + starts[row] * width, count: width)
      } else {
        vector.update(repeating: 0, count: width)
      }
    }
  }

  /// Runs one layer; derivatives of a layer whose numbers were not kept begin with it again.
  func runLayer(_ index: Int, key: UInt64?) {
    let (kernels, layer) = (self.kernels.pointee, layout.layers[index])
    let state = layerStates[index % layerStates.count]
    let input = states[index % states.count]
    apply(layer.parts, input.start, to: state.parts.start, rows: tokens)
    attend(layer, state, dropout(.attention(index), key))
    apply(layer.output, state.context.start, to: spare.start, rows: tokens)
    var drop = dropout(.output(index), key)
    nt_transformer_drop(&drop, spare.start, tokens, width, width, 0)
    runBottleneck(layer.outputBottleneck, state.outputBottleneck)
    kernels.add(spare.start, input.start, tokens * width)
    var norm = self.norm(layer.firstNorm, state.firstNormal, state.firstInverse)
    kernels.norm(&norm, spare.start, state.middle.start)
    apply(layer.inner, state.middle.start, to: state.innerSums.start, rows: tokens)
    let activation = UInt32(configuration.activation.rawValue)
    share(tokens * configuration.innerWidth) { range in
      self.net.pointee.activate(
        activation, state.innerSums.start + range.lowerBound, state.inner.start + range.lowerBound, range.count)
    }
    apply(layer.outer, state.inner.start, to: spare.start, rows: tokens)
    drop = dropout(.outer(index), key)
    nt_transformer_drop(&drop, spare.start, tokens, width, width, 0)
    runBottleneck(layer.outerBottleneck, state.outerBottleneck)
    kernels.add(spare.start, state.middle.start, tokens * width)
    norm = self.norm(layer.secondNorm, state.secondNormal, state.secondInverse)
    kernels.norm(&norm, spare.start, states[(index + 1) % states.count].start)
  }

  /// Runs the layers behind the body over the pooled vectors.
  func runHead(key: UInt64?) {
    if let hidden = layout.hidden {
      apply(hidden, pooled.start, to: hiddenSums.start, rows: rows)
      net.pointee.activate(hiddenActivation, hiddenSums.start, vector.start, Network.padded(rows * width))
    } else {
      vector.copy(from: pooled)
    }
    var drop = dropout(.scores, key)
    nt_transformer_drop(&drop, vector.start, rows, width, width, 0)
    let stride = logitsStride
    let scores = layout.scores
    BLAS.multiply(
      .init(vector.start, stride: width), .init(parameters.start(scores.weights), stride: width, isTransposed: true),
      into: logits.start, stride: stride, rows: rows, columns: outputs, depth: width)
    let bias = parameters.start(scores.bias)
    for row in 0..<rows {
      for output in 0..<outputs { logits.start[row * stride + output] += bias[output] }
    }
  }

  /// Activation between the first token and the scores, as in the architecture's class for sequences.
  var hiddenActivation: UInt32 {
    UInt32((configuration.architecture == .distilBERT ? Dense.Activation.relu : .tanh).rawValue)
  }

  func norm(
    _ slots: EncoderParameters.Norm, _ normal: FloatBuffer, _ inverse: FloatBuffer
  ) -> nt_transformer_norm {
    nt_transformer_norm(
      rows: tokens, columns: width, scale: parameters.start(slots.scale), shift: parameters.start(slots.shift),
      epsilon: configuration.epsilon, normal: normal.start, inverse: inverse.start)
  }

  /// to = input · weightsᵀ + bias, or with `kept` of 1 that added to it.
  func apply(
    _ layer: EncoderParameters.Linear, _ input: UnsafePointer<Float>, to output: UnsafeMutablePointer<Float>, rows: Int,
    kept: Float = 0
  ) {
    let (columns, depth) = (layer.weights.rows, layer.weights.columns)
    multiply(
      .init(input, stride: depth), .init(parameters.start(layer.weights), stride: depth, isTransposed: true),
      into: output, stride: columns, rows: rows, columns: columns, depth: depth, kept: kept)
    kernels.pointee.add_row(output, rows, columns, parameters.start(layer.bias))
  }
}
