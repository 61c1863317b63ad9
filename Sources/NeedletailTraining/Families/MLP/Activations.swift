internal import NeedletailCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// The formulas of the engine's activations and their derivatives.
enum Activations {
  /// y = f(x), element by element.
  static func forward(
    _ activation: Dense.Activation, _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, _ count: Int
  ) {
    switch activation {
    case .identity: y.update(from: x, count: count)
    case .relu: for i in 0..<count { y[i] = x[i] > 0 ? x[i] : 0 }
    case .tanh: for i in 0..<count { y[i] = tanhf(x[i]) }
    case .logistic: for i in 0..<count { y[i] = 1 / (1 + expf(-x[i])) }
    case .gelu: for i in 0..<count { y[i] = 0.5 * x[i] * (1 + erff(x[i] * 0.707_106_77)) }
    }
  }

  /// gradient ·= f′(x), where y = f(x).
  static func backward(
    _ activation: Dense.Activation, _ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>,
    _ gradient: UnsafeMutablePointer<Float>, _ count: Int
  ) {
    switch activation {
    case .identity: break
    case .relu: for i in 0..<count { gradient[i] = x[i] > 0 ? gradient[i] : 0 }
    case .tanh: for i in 0..<count { gradient[i] *= 1 - y[i] * y[i] }
    case .logistic: for i in 0..<count { gradient[i] *= y[i] * (1 - y[i]) }
    case .gelu:
      // Φ(x) + x · φ(x)
      for i in 0..<count {
        let cumulative = 0.5 * (1 + erff(x[i] * 0.707_106_77))
        let density = 0.398_942_28 * expf(-0.5 * x[i] * x[i])
        gradient[i] *= cumulative + x[i] * density
      }
    }
  }
}
