internal import Glibc
internal import NeedletailBLAS
internal import NeedletailCore
internal import NeedletailEngine

/// Parameters of an encoder while it learns, and the derivatives of those that do. Only the thread that trains may use it.
///
/// Parameters that weight decay acts on stand first, then others that learn, then those that stay as they are.
final class EncoderParameters {
  /// Place of a matrix, or of a vector as one row.
  struct Slot {
    let offset: Int
    let rows: Int
    let columns: Int
    var count: Int { rows * columns }

    /// Some rows of it.
    func rows(from first: Int, count: Int) -> Slot {
      Slot(offset: offset + first * columns, rows: count, columns: columns)
    }
  }

  struct Linear {
    let weights: Slot
    let bias: Slot
  }

  struct Norm {
    let scale: Slot
    let shift: Slot
  }

  /// Two layers, few columns between them, whose product is added to what the first reads.
  struct Bottleneck {
    let down: Linear
    let up: Linear
  }

  /// Keys and values of places in front of the tokens, one a row.
  struct Prefix {
    let keys: Slot
    let values: Slot
  }

  struct Layer {
    /// Query, key and value, one below the other.
    let parts: Linear
    let output: Linear
    let firstNorm: Norm
    let inner: Linear
    let outer: Linear
    let secondNorm: Norm
    /// Behind the layers `output` and `outer`.
    let outputBottleneck: Bottleneck?
    let outerBottleneck: Bottleneck?
    let prefix: Prefix?
  }

  /// Narrow matrices whose product is added to the weights of a layer.
  struct Adapter {
    let target: Slot
    let a: Slot
    let b: Slot
    /// The weights without them.
    let base: FloatBuffer
  }

  /// Everything by its place.
  struct Layout {
    var words: Slot
    var positions: Slot
    var types: Slot?
    var tablesNorm: Norm
    var layers: [Layer] = []
    /// Layer between the first token and the scores.
    var hidden: Linear?
    var scores: Linear
    var adapters: [(target: Slot, a: Slot, b: Slot)] = []
  }

  let layout: Layout
  let adapters: [Adapter]
  /// Factor of the adapters' products.
  let adapterScale: Float
  let parameters: FloatBuffer
  /// Derivatives of the loss by the parameters that learn.
  let gradient: FloatBuffer
  let decayingCount: Int
  let learningCount: Int
  let sizes: Sizes

  /// Numbers of parameters, without the padding between them.
  struct Sizes: Equatable {
    /// Parameters of the model as it is served.
    var served: Int
    /// Parameters that learn.
    var learning: Int
    /// Numbers of the adapters' matrices, and of the weights that these change.
    var adapters: Int
    var adapted: Int

    fileprivate init(_ placer: Placer, _ layout: Layout) {
      adapters = layout.adapters.reduce(0) { $0 + $1.a.count + $1.b.count }
      adapted = layout.adapters.reduce(0) { $0 + $1.target.count }
      served = placer.size - adapters
      learning = placer.learningSize
    }

    /// What ``EncoderParameters`` would hold.
    init(_ configuration: EncoderConfiguration, _ recipe: EncoderRecipe, outputs: Int) {
      var placer = Placer()
      let layout = EncoderParameters.layout(configuration, recipe, outputs: outputs, &placer)
      self.init(placer, layout)
    }
  }

  /// - Parameter outputs: scores of a text.
  init(_ configuration: EncoderConfiguration, _ recipe: EncoderRecipe, outputs: Int) {
    var counter = Placer()
    _ = Self.layout(configuration, recipe, outputs: outputs, &counter)
    let (decaying, plain, fixed) = (counter.decaying, counter.plain, counter.fixed)
    var placer = Placer(decaying: 0, plain: decaying, fixed: decaying + plain)
    layout = Self.layout(configuration, recipe, outputs: outputs, &placer)
    decayingCount = decaying
    learningCount = decaying + plain
    sizes = Sizes(placer, layout)
    parameters = FloatBuffer(count: decaying + plain + fixed)
    gradient = FloatBuffer(count: decaying + plain)
    adapters = layout.adapters.map {
      Adapter(target: $0.target, a: $0.a, b: $0.b, base: FloatBuffer(count: $0.target.count))
    }
    adapterScale = recipe.alpha / Float(recipe.rank)
  }

  /// Gives out places in three ranges.
  fileprivate struct Placer {
    var decaying = 0
    var plain = 0
    var fixed = 0
    var size = 0
    var learningSize = 0

    mutating func slot(_ rows: Int, _ columns: Int, learns: Bool, decays: Bool) -> Slot {
      let padded = Network.padded(rows * columns)
      size += rows * columns
      if learns { learningSize += rows * columns }
      func take(_ offset: inout Int) -> Slot {
        defer { offset += padded }
        return Slot(offset: offset, rows: rows, columns: columns)
      }
      if !learns { return take(&fixed) }
      return decays ? take(&decaying) : take(&plain)
    }

    mutating func linear(_ rows: Int, _ columns: Int, learns: Bool) -> Linear {
      Linear(
        weights: slot(rows, columns, learns: learns, decays: true),
        bias: slot(1, rows, learns: learns, decays: false))
    }

    mutating func norm(_ columns: Int, learns: Bool) -> Norm {
      Norm(
        scale: slot(1, columns, learns: learns, decays: false), shift: slot(1, columns, learns: learns, decays: false))
    }

    /// Nil where a recipe has none.
    mutating func prefix(_ recipe: EncoderRecipe, width: Int) -> Prefix? {
      guard recipe.prefix > 0 else { return nil }
      return Prefix(
        keys: slot(recipe.prefix, width, learns: true, decays: true),
        values: slot(recipe.prefix, width, learns: true, decays: true))
    }

    /// Nil where a recipe has none behind the layer.
    mutating func bottleneck(
      _ recipe: EncoderRecipe, behind place: EncoderRecipe.AdapterPlace, width: Int
    ) -> Bottleneck? {
      guard recipe.mode == .adapters, recipe.bottleneck.places.contains(place) else { return nil }
      return Bottleneck(
        down: linear(recipe.bottleneck.size, width, learns: true),
        up: linear(width, recipe.bottleneck.size, learns: true))
    }
  }

  fileprivate static func layout(
    _ configuration: EncoderConfiguration, _ recipe: EncoderRecipe, outputs: Int, _ placer: inout Placer
  ) -> Layout {
    let (width, inner) = (configuration.width, configuration.innerWidth)
    let learns = recipe.mode == .full
    let normsLearn = learns || recipe.mode == .adapters
    var layout = Layout(
      words: placer.slot(configuration.vocabulary, width, learns: learns, decays: true),
      positions: placer.slot(configuration.positions, width, learns: learns, decays: true),
      types: configuration.types > 0 ? placer.slot(configuration.types, width, learns: learns, decays: true) : nil,
      tablesNorm: placer.norm(width, learns: learns), scores: placer.linear(outputs, width, learns: true))
    if recipe.pooling == .first { layout.hidden = placer.linear(width, width, learns: true) }
    for _ in 0..<configuration.layers {
      let layer = Layer(
        parts: placer.linear(3 * width, width, learns: learns), output: placer.linear(width, width, learns: learns),
        firstNorm: placer.norm(width, learns: normsLearn), inner: placer.linear(inner, width, learns: learns),
        outer: placer.linear(width, inner, learns: learns), secondNorm: placer.norm(width, learns: normsLearn),
        outputBottleneck: placer.bottleneck(recipe, behind: .output, width: width),
        outerBottleneck: placer.bottleneck(recipe, behind: .outer, width: width),
        prefix: placer.prefix(recipe, width: width))
      layout.layers.append(layer)
      guard recipe.mode == .lora else { continue }
      for target in recipe.targets {
        let own: Slot =
          switch target {
          case .query: layer.parts.weights.rows(from: 0, count: width)
          case .key: layer.parts.weights.rows(from: width, count: width)
          case .value: layer.parts.weights.rows(from: 2 * width, count: width)
          case .output: layer.output.weights
          case .inner: layer.inner.weights
          case .outer: layer.outer.weights
          }
        layout.adapters.append(
          (
            own, placer.slot(recipe.rank, own.columns, learns: true, decays: true),
            placer.slot(own.rows, recipe.rank, learns: true, decays: true)
          ))
      }
    }
    return layout
  }

  func learns(_ slot: Slot) -> Bool { slot.offset < learningCount }

  func start(_ slot: Slot) -> UnsafeMutablePointer<Float> { parameters.start + slot.offset }

  /// Place of a slot's derivatives; nil where it does not learn.
  func derivatives(_ slot: Slot) -> UnsafeMutablePointer<Float>? {
    learns(slot) ? gradient.start + slot.offset : nil
  }

  func set(_ slot: Slot, _ floats: [Float]) {
    precondition(floats.count == slot.count)
    start(slot).update(from: floats, count: floats.count)
  }

  func floats(_ slot: Slot) -> [Float] { Array(UnsafeBufferPointer(start: start(slot), count: slot.count)) }

  func clearGradient() { memset(gradient.start, 0, gradient.count * MemoryLayout<Float>.stride) }

  // MARK: - adapters

  /// Keeps the weights that adapters are added to, and draws the first of each pair; the second is 0, so that nothing
  /// changes yet.
  ///
  /// The first is uniform within 1 / √columns, as the library peft draws it.
  func beginAdapters(_ random: inout RandomSource) {
    for adapter in adapters {
      adapter.base.start.update(from: start(adapter.target), count: adapter.target.count)
      draw(adapter.a, &random)
      start(adapter.b).update(repeating: 0, count: adapter.b.count)
    }
  }

  /// Draws the first layer of each bottleneck as adapters are drawn; the second is 0, so that nothing changes yet.
  func beginBottlenecks(_ random: inout RandomSource) {
    for bottleneck in layout.layers.flatMap({ [$0.outputBottleneck, $0.outerBottleneck] }).compactMap(\.self) {
      draw(bottleneck.down.weights, &random)
      for slot in [bottleneck.down.bias, bottleneck.up.weights, bottleneck.up.bias] {
        start(slot).update(repeating: 0, count: slot.count)
      }
    }
  }

  /// Uniform within 1 / √columns.
  private func draw(_ slot: Slot, _ random: inout RandomSource) {
    let bound = 1 / Float(slot.columns).squareRoot()
    for index in 0..<slot.count { start(slot)[index] = (2 * random.uniform() - 1) * bound }
  }

  /// Writes the weights with their adapters: base + scale · B · A.
  func mergeAdapters() {
    for adapter in adapters {
      let target = start(adapter.target)
      target.update(from: adapter.base.start, count: adapter.target.count)
      BLAS.multiply(
        .init(start(adapter.b), stride: adapter.b.columns), .init(start(adapter.a), stride: adapter.a.columns),
        into: target, stride: adapter.target.columns, rows: adapter.target.rows, columns: adapter.target.columns,
        depth: adapter.b.columns, factor: adapterScale, kept: 1)
    }
  }
}
