internal import NeedletailCore
internal import NeedletailEngine

/// Decides which layers may be int8, so that they cost no more than the run allows.
///
/// The gate computes nothing itself: the caller measures on the engine how a set of layers performs. All layers are
/// tried first. If they cost too much, the last layer goes back to fp32, because its rounding reaches the answers
/// undamped; then the others follow one by one, the most damaging first.
struct QuantisationGate {
  /// Performance of a choice of int8 layers, compared with fp32.
  struct Measurement: Equatable {
    /// Points lost on validation or on test rows, the larger of the two; negative where int8 is better.
    var lossPoints: Double
    /// Mean |difference| of the answers on calibration rows.
    var deviation: Double
  }

  struct Decision: Equatable {
    /// Dense nodes that become int8; empty for fp32.
    var int8Layers: Set<Int>
    /// Measurement of these layers; nil for fp32.
    var measurement: Measurement?
    /// One sentence for people and for the lineage.
    var reason: String
  }

  /// Weights from which `auto` tries int8: fewer fit in a core's L1 cache (32 KB) either way.
  static let weightsMinForAutomatic = 4096

  let settings: RunConfiguration.Quantisation
  /// Whether int8 makes models of the family faster.
  let familyGains: Bool

  /// - Parameters:
  ///   - layers: indices of the dense nodes, in their order.
  ///   - weightCount: number of weights in them.
  ///   - names: name of a node, for the reason.
  ///   - measure: how a choice of int8 layers performs.
  /// - Throws: what `measure` throws.
  func decide<Failure>(
    layers: [Int], weightCount: Int, names: (Int) -> String,
    measure: (Set<Int>) throws(Failure) -> Measurement
  ) throws(Failure) -> Decision {
    if settings.precision == .fp32 { return fp32("fp32 as configured") }
    if layers.isEmpty { return fp32("fp32: no layer to quantise") }
    if settings.precision == .automatic {
      if !familyGains { return fp32("fp32: int8 has nothing to gain in this kind of model") }
      if weightCount < Self.weightsMinForAutomatic {
        return fp32(
          "fp32: int8 has nothing to gain below \(Figures.count(Self.weightsMinForAutomatic)) weights, found \(weightCount)"
        )
      }
    }

    var chosen = Set(layers)
    let whole = try measure(chosen)
    if passes(whole) {
      return Decision(
        int8Layers: chosen, measurement: whole, reason: "int8 in all \(layers.count) layers: \(sentence(whole))")
    }
    for layer in try fallbackOrder(layers, measure) {
      chosen.remove(layer)
      if chosen.isEmpty { break }
      let found = try measure(chosen)
      if passes(found) {
        let kept = layers.filter { !chosen.contains($0) }.map(names).joined(separator: ", ")
        return Decision(
          int8Layers: chosen, measurement: found,
          reason: "int8 in \(chosen.count) of \(layers.count) layers, fp32 in \(kept): \(sentence(found))")
      }
    }
    return Decision(
      int8Layers: [], measurement: nil, reason: "fp32: int8 \(sentence(whole)), and no choice of layers passed")
  }

  /// Takes int8 back where it was measured to be slower, and the run file leaves the choice.
  ///
  /// - Parameters: median times of one row alone; 0 where there was no row to time.
  func keep(_ decision: Decision, microsecondsPerRow: Double, fp32Microseconds: Double) -> Decision {
    guard settings.precision == .automatic, !decision.int8Layers.isEmpty, microsecondsPerRow > fp32Microseconds else {
      return decision
    }
    return fp32(
      "fp32: int8 takes \(Figures.microseconds(microsecondsPerRow)) a row, and fp32 "
        + Figures.microseconds(fp32Microseconds))
  }

  /// Layers in the order in which they go back to fp32.
  private func fallbackOrder<Failure>(
    _ layers: [Int], _ measure: (Set<Int>) throws(Failure) -> Measurement
  ) throws(Failure) -> [Int] {
    guard layers.count > 1, let last = layers.last else { return layers }
    var damages: [(layer: Int, deviation: Double)] = []
    for layer in layers.dropLast() { damages.append((layer, try measure([layer]).deviation)) }
    return [last] + damages.sorted { ($0.deviation, $0.layer) > ($1.deviation, $1.layer) }.map(\.layer)
  }

  private func passes(_ measurement: Measurement) -> Bool {
    measurement.lossPoints <= settings.lossPointsMax + 1e-9
  }

  private func sentence(_ measurement: Measurement) -> String {
    let change =
      measurement.lossPoints > 0
      ? "loses \(Figures.fixed(measurement.lossPoints, 2)) points" : "loses nothing"
    return
      "\(change) (\(Figures.short(settings.lossPointsMax)) allowed), mean deviation \(Figures.short(measurement.deviation))"
  }

  private func fp32(_ reason: String) -> Decision {
    Decision(int8Layers: [], measurement: nil, reason: reason)
  }
}

/// Turns fp32 weights into int8: symmetric, one scale per output channel.
enum Quantiser {
  /// A copy of the graph with int8 weights.
  ///
  /// - Parameter layers: indices of ``layers(of:)`` to quantise; the others keep fp32.
  static func quantise(_ graph: ModelGraph, layers: Set<Int>) -> ModelGraph {
    var result = graph
    for index in layers {
      guard let tensor = weights(of: graph.nodes[index].operation) else { continue }
      result.tensors[tensor] = quantise(graph.tensors[tensor])
    }
    return result
  }

  /// w ≈ q · scale with q in −127…127, and scale = max|w| / 127 over the weights of one output channel.
  static func quantise(_ tensor: WeightTensor) -> WeightTensor {
    guard case .float32(let weights) = tensor.storage, tensor.shape.count == 2 else { return tensor }
    let columns = tensor.shape[1]
    var quantised = [Int8](repeating: 0, count: weights.count)
    var scales = [Float](repeating: 1, count: tensor.shape[0])
    for row in 0..<tensor.shape[0] {
      let range = (row * columns)..<((row + 1) * columns)
      let largest = weights[range].reduce(0) { max($0, abs($1)) }
      // A row of zeros, or of numbers too small to divide by, stays zero.
      guard largest > 1e-30 else { continue }
      let scale = largest / 127
      scales[row] = scale
      for position in range {
        let rounded = (weights[position] / scale).rounded(.toNearestOrEven)
        quantised[position] = Int8(max(-127, min(127, rounded)))
      }
    }
    return WeightTensor(name: tensor.name, shape: tensor.shape, storage: .int8(quantised, scales: scales))
  }

  /// Tensor of an operation's weights, where they may be int8.
  private static func weights(of operation: any GraphOperation) -> Int? {
    switch operation {
    case let dense as Dense: dense.weights
    case let table as Embedding: table.index == .value ? table.table : nil
    default: nil
    }
  }

  /// Rows of a table of words from which int8 makes the bundle smaller in earnest.
  private static let tableRowsMin = 65

  /// Indices of the nodes that can gain from int8, in their order: dense layers and tables of words. A dense layer with
  /// one input column cannot, for it has no products to add up; nor can one that reads indicators, whose weights are
  /// looked up.
  static func layers(of graph: ModelGraph) -> [Int] {
    graph.nodes.indices.filter { index in
      if let table = graph.nodes[index].operation as? Embedding {
        return table.index == .value && graph.tensors[table.table].shape[0] >= tableRowsMin
      }
      return graph.nodes[index].operation is Dense && graph.values[graph.nodes[index].inputs[0]].columns > 1
        && !graph.readsIndicators(index)
    }
  }

  /// Number of weights in all ``layers(of:)``, biases not counted.
  static func weightCount(of graph: ModelGraph) -> Int {
    layers(of: graph).reduce(0) { sum, index in
      guard let tensor = weights(of: graph.nodes[index].operation) else { return sum }
      return sum + graph.tensors[tensor].elementCount
    }
  }

  /// Bytes of all tensors as a bundle stores them, before compression.
  static func tensorBytes(of graph: ModelGraph) -> Int {
    graph.tensors.reduce(0) { $0 + $1.storedBytes }
  }
}
