import NeedletailCore
import NeedletailEngine
import Testing

@testable import NeedletailTraining

@Suite struct QuantiserTests {
  @Test func scalesEveryRowByItsLargestWeight() {
    let tensor = WeightTensor(name: "w", shape: [3, 3], storage: .float32([1, -0.5, 0.25, 0, 0, 0, -127, 3, 63.4]))
    let quantised = Quantiser.quantise(tensor)
    #expect(
      quantised.storage
        == .int8([127, -64, 32, 0, 0, 0, -127, 3, 63], scales: [1 / 127, 1, 1]))
  }

  @Test func quantisationErrsByAtMostHalfAStep() {
    let weights = Synthetic.inputs(rows: 20, columns: 33, seed: 2).elements
    let tensor = WeightTensor(name: "w", shape: [20, 33], storage: .float32(weights))
    guard case .int8(let values, let scales) = Quantiser.quantise(tensor).storage else {
      Issue.record("not quantised")
      return
    }
    for index in weights.indices {
      let scale = scales[index / 33]
      #expect(abs(Float(values[index]) * scale - weights[index]) <= scale * 0.5001)
      #expect(values[index] != -128)
    }
  }

  @Test func aLayerWithOneInputColumnStaysAsItIs() throws {
    let graph = try GraphBuilder(inputColumns: 1).finish(.logOdds(0), classCount: 2)
    #expect(graph.nodes.count == 3)
    #expect(Quantiser.layers(of: graph).isEmpty)
  }

  @Test func leavesOtherLayersAndBiasesAlone() throws {
    var builder = GraphBuilder(inputColumns: 2)
    let weights = Matrix(rows: 2, columns: 2, elements: [1, 2, 3, 4])
    builder.addDense(name: "a", from: 0, weights: weights, bias: [1, 1], activation: .relu)
    builder.addDense(name: "b", from: 1, weights: weights, bias: [1, 1], activation: .identity)
    let graph = try builder.finish(.logits(2), classCount: 2)
    #expect(Quantiser.layers(of: graph) == [0, 1])
    let quantised = Quantiser.quantise(graph, layers: [1])
    #expect(quantised.tensors[0] == graph.tensors[0] && quantised.tensors[1] == graph.tensors[1])
    #expect(quantised.tensors[2] != graph.tensors[2] && quantised.tensors[3] == graph.tensors[3])
    #expect(Quantiser.tensorBytes(of: quantised) == 16 + 8 + (4 + 8) + 8)
  }
}

@Suite struct QuantisationGateTests {
  private func decide(
    _ precision: RunConfiguration.Precision = .automatic, layers: [Int] = [3, 4, 5], weightCount: Int = 100_000,
    gains: Bool = true, loss: @escaping (Set<Int>) -> Double
  ) -> (decision: QuantisationGate.Decision, asked: [Set<Int>]) {
    let gate = QuantisationGate(
      settings: .init(precision: precision, lossPointsMax: 0.5, calibrationRows: 10), familyGains: gains)
    var asked: [Set<Int>] = []
    let decision = gate.decide(layers: layers, weightCount: weightCount, names: { "layer\($0)" }) { layers in
      asked.append(layers)
      return QuantisationGate.Measurement(lossPoints: loss(layers), deviation: loss(layers))
    }
    return (decision, asked)
  }

  @Test func allLayersBecomeInt8WhereTheMetricAllows() {
    let (decision, asked) = decide { _ in 0.5 }
    #expect(decision.int8Layers == [3, 4, 5])
    #expect(asked == [[3, 4, 5]])
    #expect(decision.reason.hasPrefix("int8 in all 3 layers: loses 0.50 points (0.5 allowed)"))
  }

  @Test func nothingBecomesInt8WhereNoChoicePasses() {
    let (decision, _) = decide { _ in 0.51 }
    #expect(decision.int8Layers.isEmpty)
    #expect(decision.reason.hasPrefix("fp32: int8 loses 0.51 points (0.5 allowed)"))
  }

  @Test func theLastLayerGoesBackToFp32First() {
    let (decision, _) = decide { $0.contains(5) ? 2 : 0 }
    #expect(decision.int8Layers == [3, 4])
    #expect(decision.reason.contains("fp32 in layer5"))
  }

  @Test func theMostDamagingLayerGoesBackNext() {
    let (decision, _) = decide { $0.contains(4) ? 3 : ($0.contains(3) ? 0.2 : 0) }
    #expect(decision.int8Layers == [3])
    #expect(decision.reason.contains("fp32 in layer4, layer5"))
  }

  @Test func automaticLeavesLinearAndSmallModelsAlone() {
    #expect(decide(gains: false) { _ in 0 }.asked.isEmpty)
    #expect(decide(weightCount: 4095) { _ in 0 }.asked.isEmpty)
    #expect(decide(.fp32) { _ in 0 }.asked.isEmpty)
    #expect(decide(.int8, weightCount: 10, gains: false) { _ in 0 }.decision.int8Layers == [3, 4, 5])
  }

  @Test func automaticTakesNoInt8ThatWasMeasuredSlower() {
    func kept(_ precision: RunConfiguration.Precision, int8: Double, fp32: Double) -> QuantisationGate.Decision {
      let gate = QuantisationGate(
        settings: .init(precision: precision, lossPointsMax: 0.5, calibrationRows: 10), familyGains: true)
      return gate.keep(
        decide { _ in 0 }.decision, microsecondsPerRow: int8, fp32Microseconds: fp32)
    }
    let slower = kept(.automatic, int8: 3.2, fp32: 2.14)
    #expect(slower.int8Layers.isEmpty && slower.measurement == nil)
    #expect(slower.reason == "fp32: int8 takes 3.20 µs a row, and fp32 2.14 µs")
    #expect(kept(.automatic, int8: 2.14, fp32: 2.14).int8Layers == [3, 4, 5])
    #expect(kept(.int8, int8: 3.2, fp32: 2.14).int8Layers == [3, 4, 5], "int8 was asked for")
  }
}
