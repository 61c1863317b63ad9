import Foundation
import NeedletailCore

/// Computes a graph in double precision, node by node, without any of the engine's code.
enum GraphReference {
  /// - Returns: every value of the graph for one row.
  static func evaluate(_ graph: ModelGraph, row: [Double]) -> [[Double]] {
    var values = [[Double]](repeating: [], count: graph.values.count)
    values[0] = row
    for node in graph.nodes { values[node.output] = apply(node.operation, to: values[node.input], in: graph) }
    return values
  }

  private static func apply(_ operation: NeedletailCore.Operation, to x: [Double], in graph: ModelGraph) -> [Double] {
    switch operation {
    case .impute(let fill): return zip(x, fill).map { $0.isNaN ? Double($1) : $0 }
    case .affine(let affine):
      return x.indices.map {
        let y = (x[$0] - Double(affine.offset[$0])) * Double(affine.scale[$0])
        return affine.clamp ? min(1, max(0, y)) : y
      }
    case .oneHot(let widths):
      return x.indices.flatMap { column -> [Double] in
        widths[column] == 0 ? [x[column]] : (0..<widths[column]).map { Double($0) == x[column] ? 1 : 0 }
      }
    case .dense(let dense):
      let weights = doubles(graph.tensors[dense.weights])
      let bias = dense.bias.map { doubles(graph.tensors[$0]) }
      return (0..<weights.count / x.count).map { output in
        var sum = bias?[output] ?? 0
        for (column, value) in x.enumerated() { sum += weights[output * x.count + column] * value }
        return activate(sum, dense.activation)
      }
    case .softmax:
      let largest = x.max() ?? 0
      let powers = x.map { exp($0 - largest) }
      let total = powers.reduce(0, +)
      return powers.map { $0 / total }
    case .sigmoid: return x.map { 1 / (1 + exp(-$0)) }
    case .argMax: return [Double(x.indices.max { (x[$0], $1) < (x[$1], $0) } ?? 0)]
    }
  }

  private static func activate(_ x: Double, _ activation: Dense.Activation) -> Double {
    switch activation {
    case .identity: x
    case .relu: max(0, x)
    case .tanh: tanh(x)
    case .logistic: 1 / (1 + exp(-x))
    case .gelu: 0.5 * x * erfc(-x / 2.0.squareRoot())
    }
  }

  private static func doubles(_ tensor: WeightTensor) -> [Double] {
    switch tensor.storage {
    case .float32(let elements): return elements.map { Double($0) }
    case .int8(let elements, let scales):
      let columns = tensor.shape[1]
      return elements.enumerated().map { Double($1) * Double(scales[$0 / columns]) }
    }
  }
}
