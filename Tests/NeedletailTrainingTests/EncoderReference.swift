import CNeedletailTraining
import Foundation
import NeedletailEngine

@testable import NeedletailTraining

/// The formulas of an encoder in double precision, one number at a time, and its loss as a function of the parameters.
struct EncoderReference {
  typealias Rows = [[Double]]
  typealias Slot = EncoderParameters.Slot

  let network: EncoderNetwork
  let targets: [Double]
  let weights: [Double]
  /// Key of dropout; nil: nothing is off.
  let key: UInt64?

  func loss(_ p: [Double]) -> Double {
    let layout = network.layout
    var state = (0..<network.tokens).map { token in
      let word = row(layout.words, Int(network.ids[token]), p)
      let place = row(layout.positions, Int(network.places[token]), p)
      let type = layout.types.map { row($0, Int(network.types[token]), p) } ?? word.map { _ in 0 }
      return word.indices.map { word[$0] + place[$0] + type[$0] }
    }
    state = dropped(norm(state, layout.tablesNorm, p), .tables)
    for (index, layer) in layout.layers.enumerated() {
      let context = attention(linear(state, layer.parts, p), index, layer.prefix, p)
      let output = bottleneck(dropped(linear(context, layer.output, p), .output(index)), layer.outputBottleneck, p)
      let middle = norm(sum(output, state), layer.firstNorm, p)
      let inner = linear(middle, layer.inner, p).map { $0.map(gelu) }
      let outer = bottleneck(dropped(linear(inner, layer.outer, p), .outer(index)), layer.outerBottleneck, p)
      state = norm(sum(outer, middle), layer.secondNorm, p)
    }
    var vectors = (0..<network.rows).map { row in
      let own = state[network.starts[row]..<network.starts[row + 1]]
      if network.recipe.pooling == .first { return own.first ?? [] }
      return (0..<network.width).map { column in own.reduce(0) { $0 + $1[column] } / Double(own.count) }
    }
    if let hidden = layout.hidden {
      vectors = linear(vectors, hidden, p).map {
        $0.map { network.configuration.architecture == .distilBERT ? max($0, 0) : tanh($0) }
      }
    }
    let scores = linear(dropped(vectors, .scores), layout.scores, p)
    return scores.indices.reduce(0.0) { total, row in
      guard !network.isRegression else { return total + weights[row] * pow(scores[row][0] - targets[row], 2) }
      let sum = scores[row].reduce(0) { $0 + exp($1) }
      return total + weights[row] * (log(sum) - scores[row][Int(targets[row])])
    } / Double(scores.count)
  }

  private func row(_ slot: Slot, _ index: Int, _ p: [Double]) -> [Double] {
    Array(p[slot.offset + index * slot.columns..<slot.offset + (index + 1) * slot.columns])
  }

  /// A matrix with the adapters that change rows of it.
  private func matrix(_ slot: Slot, _ p: [Double]) -> Rows {
    var rows = (0..<slot.rows).map { row(slot, $0, p) }
    let parameters = network.parameters
    for adapter in parameters.adapters
    where (slot.offset..<slot.offset + slot.count).contains(adapter.target.offset) {
      let first = (adapter.target.offset - slot.offset) / slot.columns
      for row in 0..<adapter.target.rows {
        for column in 0..<slot.columns {
          let product = (0..<adapter.a.rows).reduce(0.0) { sum, k in
            sum + p[adapter.b.offset + row * adapter.b.columns + k] * p[adapter.a.offset + k * slot.columns + column]
          }
          rows[first + row][column] =
            Double(adapter.base.start[row * slot.columns + column]) + Double(parameters.adapterScale) * product
        }
      }
    }
    return rows
  }

  private func linear(_ x: Rows, _ layer: EncoderParameters.Linear, _ p: [Double]) -> Rows {
    let weights = matrix(layer.weights, p)
    let bias = row(layer.bias, 0, p)
    return x.map { x in
      weights.indices.map { output in zip(x, weights[output]).reduce(bias[output]) { $0 + $1.0 * $1.1 } }
    }
  }

  private func gelu(_ x: Double) -> Double { 0.5 * x * (1 + erf(x / 2.0.squareRoot())) }

  private func bottleneck(_ x: Rows, _ layers: EncoderParameters.Bottleneck?, _ p: [Double]) -> Rows {
    guard let layers else { return x }
    let inner = linear(x, layers.down, p).map {
      $0.map { network.recipe.bottleneck.activation == .tanh ? tanh($0) : gelu($0) }
    }
    return sum(x, linear(inner, layers.up, p))
  }

  private func norm(_ x: Rows, _ slots: EncoderParameters.Norm, _ p: [Double]) -> Rows {
    let (scale, shift) = (row(slots.scale, 0, p), row(slots.shift, 0, p))
    return x.map { x in
      let mean = x.reduce(0, +) / Double(x.count)
      let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.count)
      let deviation = (variance + Double(network.configuration.epsilon)).squareRoot()
      return x.indices.map { (x[$0] - mean) / deviation * scale[$0] + shift[$0] }
    }
  }

  private func sum(_ x: Rows, _ y: Rows) -> Rows { zip(x, y).map { zip($0, $1).map { $0 + $1 } } }

  private func dropped(_ x: Rows, _ site: EncoderNetwork.DropoutSite) -> Rows {
    x.enumerated().map { row, x in
      x.enumerated().map { $1 * factor(site, UInt64(row * x.count + $0)) }
    }
  }

  private func factor(_ site: EncoderNetwork.DropoutSite, _ index: UInt64) -> Double {
    var dropout = network.dropout(site, key)
    return dropout.share > 0 ? Double(nt_transformer_drop_factor(&dropout, index)) : 1
  }

  private func attention(
    _ parts: Rows, _ layer: Int, _ prefix: EncoderParameters.Prefix?, _ p: [Double]
  ) -> Rows {
    let before = prefix.map { own in
      (0..<own.keys.rows).map { (key: row(own.keys, $0, p), value: row(own.values, $0, p)) }
    }
    let (width, size) = (network.width, network.headWidth)
    var context = parts.map { _ in [Double](repeating: 0, count: width) }
    for row in 0..<network.rows {
      let tokens = network.starts[row]..<network.starts[row + 1]
      let attended =
        (before ?? [])
        + tokens.map { (key: Array(parts[$0][width..<2 * width]), value: Array(parts[$0][(2 * width)...])) }
      for head in 0..<network.configuration.heads {
        let first = head * size
        for (place, query) in tokens.enumerated() {
          let scores = attended.map { other in
            (0..<size).reduce(0.0) { $0 + parts[query][first + $1] * other.key[first + $1] } / Double(size).squareRoot()
          }
          let total = scores.reduce(0) { $0 + exp($1) }
          for (other, own) in attended.enumerated() {
            let start = network.firstFactor(row, head, tokens.count)
            let share =
              exp(scores[other]) / total
              * factor(.attention(layer), start + UInt64(place * attended.count + other))
            for column in 0..<size { context[query][first + column] += share * own.value[first + column] }
          }
        }
      }
    }
    return context
  }
}
