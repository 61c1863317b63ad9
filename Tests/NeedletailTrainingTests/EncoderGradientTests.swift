import CNeedletailTraining
import NeedletailBLAS
import NeedletailCore
import Testing

@testable import NeedletailTraining

/// Holds the derivatives of encoders to differences of a loss in double precision. The stage `fine-tuning` compares larger
/// ones with torch.
@Suite("Gradients of encoders") struct EncoderGradientTests {
  private static let bert = """
    {"model_type": "bert", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
     "intermediate_size": 12, "max_position_embeddings": 16, "type_vocab_size": 2}
    """
  private static let distilled = """
    {"model_type": "distilbert", "vocab_size": 20, "dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 12,
     "max_position_embeddings": 16}
    """

  struct Case: CustomTestStringConvertible, Sendable {
    var mode = "full"
    var pooling = "cls"
    var isDistilled = false
    var outputs = 3
    var dropout = 0.0
    var checkpoints = false
    var targets = EncoderRecipe.Target.allCases
    var activation = "gelu"
    var places = EncoderRecipe.AdapterPlace.allCases
    var testDescription: String { "\(mode) \(pooling) \(outputs) \(dropout) \(checkpoints) \(isDistilled)" }
  }

  static let cases = [
    Case(), Case(pooling: "mean", dropout: 0.3), Case(isDistilled: true, outputs: 1, checkpoints: true),
    Case(pooling: "mean", dropout: 0.2, checkpoints: true), Case(mode: "lora", dropout: 0.1),
    Case(mode: "lora", pooling: "mean", checkpoints: true, targets: [.key, .outer]), Case(mode: "frozen", dropout: 0.3),
    Case(mode: "adapters", dropout: 0.2), Case(mode: "adapters", pooling: "mean", checkpoints: true, places: [.outer]),
    Case(mode: "adapters", isDistilled: true, activation: "tanh", places: [.output]),
    Case(mode: "prefix", dropout: 0.2), Case(mode: "prefix", pooling: "mean", isDistilled: true, checkpoints: true),
  ]

  private static func network(_ own: Case, threads: Int = 1) throws -> EncoderNetwork {
    let configuration = try EncoderConfiguration(Array((own.isDistilled ? distilled : bert).utf8))
    let model = Document.section([
      .init("mode", .text(own.mode)), .init("pooling", .text(own.pooling)), .init("dropout", .number(own.dropout)),
      .init(
        "lora",
        .section([
          .init("rank", .integer(3)), .init("alpha", .number(2)),
          .init("targets", .list(own.targets.map { .text($0.rawValue) })),
        ])),
      .init("prefix", .section([.init("tokens", .integer(3))])),
      .init(
        "adapters",
        .section([
          .init("size", .integer(3)), .init("activation", .text(own.activation)),
          .init("targets", .list(own.places.map { .text($0.rawValue) })),
        ])),
    ])
    let training = Document.section([.init("gradient_checkpointing", .flag(own.checkpoints))])
    let recipe = try EncoderRecipe(model, training: training, pooling: nil)
    let parameters = EncoderParameters(configuration, recipe, outputs: own.outputs)
    var random = RandomSource(seed: 11)
    for index in 0..<parameters.parameters.count { parameters.parameters.start[index] = Float(random.normal() * 0.4) }
    for norm in [parameters.layout.tablesNorm] + parameters.layout.layers.flatMap({ [$0.firstNorm, $0.secondNorm] }) {
      parameters.set(norm.scale, (0..<8).map { _ in Float(1 + 0.3 * random.normal()) })
    }
    parameters.beginAdapters(&random)
    for adapter in parameters.adapters {
      parameters.set(adapter.b, (0..<adapter.b.count).map { _ in Float(random.normal() * 0.5) })
    }
    parameters.mergeAdapters()
    return EncoderNetwork(
      configuration, recipe, parameters, extent: .init(rows: 4, tokens: 24, longest: 9), outputs: own.outputs,
      isRegression: own.outputs == 1, threads: threads)
  }

  /// Four rows of 1 to 9 tokens.
  private static var texts: TokenizedTexts {
    var random = RandomSource(seed: 5)
    let lengths = [5, 1, 9, 3]
    var (places, starts): ([UInt32], [Int]) = ([], [0])
    for length in lengths {
      places += (0..<length).map { UInt32($0) }
      starts.append(places.count)
    }
    return TokenizedTexts(
      ids: places.map { _ in UInt32(random.index(below: 20)) }, places: places,
      types: places.map { UInt8($0 % 2) }, starts: starts)
  }

  private static let targets: [Double] = [0, 2, 1, 0]
  private static let weights: [Float] = [1, 0.5, 2, 1]

  @discardableResult
  private static func run(_ network: EncoderNetwork, rows: [[Int]] = [[0, 1, 2, 3]], key: UInt64?) -> Double {
    network.parameters.clearGradient()
    var total = 0.0
    for rows in rows {
      network.load(texts, rows: rows[...])
      network.runBody(key: key)
      network.runHead(key: key)
      total +=
        network.loss(targets: rows.map { targets[$0] }, weights: rows.map { weights[$0] }, stepRows: 4).sum
      network.backward(key: key)
    }
    return total / 4
  }

  private static func gradient(_ network: EncoderNetwork) -> [Float] {
    (0..<network.parameters.gradient.count).map { network.parameters.gradient.start[$0] }
  }

  @Test(arguments: cases) func derivativesAreThoseOfTheFormulas(own: Case) throws {
    let network = try Self.network(own)
    let key: UInt64? = own.dropout > 0 ? 77 : nil
    let loss = Self.run(network, key: key)
    let parameters = network.parameters
    let reference = EncoderReference(
      network: network, targets: Self.targets, weights: Self.weights.map { Double($0) }, key: key)
    let point = (0..<parameters.parameters.count).map { Double(parameters.parameters.start[$0]) }
    #expect(abs(loss - reference.loss(point)) < 1e-5 * max(1, loss))

    var random = RandomSource(seed: 3)
    let learning = Self.slots(parameters).filter(parameters.learns)
    // Weights and biases, scales and shifts of the body; then the layers behind it.
    let bottlenecks = own.mode == "adapters" ? 2 * own.places.count : 0
    let body = own.mode == "full" ? (own.isDistilled ? 28 : 29) : bottlenecks > 0 ? 8 + 4 * bottlenecks : 0
    let prefixes = own.mode == "prefix" ? 4 : 0
    #expect(learning.count == body + prefixes + (own.pooling == "mean" ? 2 : 4) + 2 * parameters.adapters.count)
    var largest = 0.0
    for slot in learning {
      for _ in 0..<min(4, slot.count) {
        let index = slot.offset + random.index(below: slot.count)
        var (above, below) = (point, point)
        above[index] += 1e-5
        below[index] -= 1e-5
        let slope = (reference.loss(above) - reference.loss(below)) / 2e-5
        let found = Double(parameters.gradient.start[index])
        #expect(abs(found - slope) < 1e-5 + 1e-4 * abs(slope), "parameter \(index) of slot at \(slot.offset)")
        largest = max(largest, abs(slope))
      }
    }
    #expect(largest > 0.01)
  }

  private static func slots(
    _ parameters: EncoderParameters, hasBottlenecks: Bool = true
  ) -> [EncoderParameters.Slot] {
    let layout = parameters.layout
    var linear = [layout.scores] + (layout.hidden.map { [$0] } ?? [])
    var (norms, prefixes): ([EncoderParameters.Norm], [EncoderParameters.Slot]) = ([layout.tablesNorm], [])
    for layer in layout.layers {
      linear += [layer.parts, layer.output, layer.inner, layer.outer]
      norms += [layer.firstNorm, layer.secondNorm]
      if let own = layer.prefix { prefixes += [own.keys, own.values] }
      guard hasBottlenecks else { continue }
      linear += [layer.outputBottleneck, layer.outerBottleneck].compactMap(\.self).flatMap { [$0.down, $0.up] }
    }
    return [layout.words, layout.positions] + (layout.types.map { [$0] } ?? [])
      + linear.flatMap { [$0.weights, $0.bias] } + norms.flatMap { [$0.scale, $0.shift] }
      + parameters.adapters.flatMap { [$0.a, $0.b] } + prefixes
  }

  @Test(arguments: ["full", "lora", "adapters", "prefix"]) func layersThatAreComputedAgainHaveTheSameBits(mode: String)
    throws
  {
    let key: UInt64 = 5
    let kept = try Self.network(Case(mode: mode, dropout: 0.2))
    let again = try Self.network(Case(mode: mode, dropout: 0.2, checkpoints: true), threads: 3)
    #expect(kept.layerStates.count == 2 && again.layerStates.count == 1)
    #expect(Self.run(kept, key: key) == Self.run(again, key: key))
    #expect(Self.gradient(kept) == Self.gradient(again))
    #expect(
      EncoderNetwork.bytes(again.configuration, again.recipe, again.parameters.sizes, extent: again.extent)
        < EncoderNetwork.bytes(kept.configuration, kept.recipe, kept.parameters.sizes, extent: kept.extent))
  }

  @Test func bottlenecksBeginWithNothingAdded() throws {
    let plain = try Self.network(Case(mode: "frozen"))
    let network = try Self.network(Case(mode: "adapters"))
    var random = RandomSource(seed: 4)
    network.parameters.beginBottlenecks(&random)
    // The body is drawn anew for each network: the frozen one takes over that of the other.
    for (to, from) in zip(Self.slots(plain.parameters), Self.slots(network.parameters, hasBottlenecks: false)) {
      plain.parameters.set(to, network.parameters.floats(from))
    }
    for network in [plain, network] {
      network.load(Self.texts, rows: [0, 1, 2, 3])
      network.runBody(key: nil)
      network.runHead(key: nil)
    }
    for index in 0..<4 * plain.logitsStride { #expect(network.logits.start[index] == plain.logits.start[index]) }
    let down = try #require(network.layout.layers[1].outerBottleneck).down.weights
    let drawn = network.parameters.floats(down)
    #expect(Set(drawn).count == 24 && drawn.allSatisfy { abs($0) <= 1 / Float(8).squareRoot() })
  }

  /// Keys and values of tokens: a row that is these tokens attends to each of them twice, which changes nothing.
  @Test(arguments: [false, true]) func aPrefixBeginsWithKeysAndValuesOfTokens(checkpoints: Bool) throws {
    let network = try Self.network(Case(mode: "prefix", checkpoints: checkpoints))
    let one = TokenizedTexts(ids: [4, 7, 9], places: [0, 1, 2], types: [0, 1, 0], starts: [0, 3])
    network.prefix = 0
    network.load(one, rows: [0])
    network.runBody(key: nil)
    let expected = (0..<8).map { network.pooled.start[$0] }
    network.prefix = network.recipe.prefix
    network.beginPrefix(one)
    network.load(one, rows: [0])
    network.runBody(key: nil)
    for (column, expected) in expected.enumerated() { #expect(abs(network.pooled.start[column] - expected) < 1e-5) }
  }

  @Test func partsOfAStepAddUpToIt() throws {
    let network = try Self.network(Case(pooling: "mean"))
    let whole = Self.run(network, key: nil)
    let expected = Self.gradient(network)
    #expect(abs(Self.run(network, rows: [[0], [1, 2], [3]], key: nil) - whole) < 1e-5)
    for (found, expected) in zip(Self.gradient(network), expected) { #expect(abs(found - expected) < 1e-5) }
  }

  @Test func dropoutSwitchesOffItsShare() {
    var dropout = nt_transformer_dropout(key: 9, share: 0.25)
    var ones = [Float](repeating: 1, count: 40_000)
    nt_transformer_drop(&dropout, &ones, 100, 400, 400, 7)
    #expect(abs(Double(ones.count { $0 == 0 }) / 40_000 - 0.25) < 0.01)
    #expect(ones.allSatisfy { $0 == 0 || $0 == 1 / 0.75 })
    #expect(ones.enumerated().allSatisfy { nt_transformer_drop_factor(&dropout, UInt64($0 + 7)) == $1 })
  }

  /// The values of `get_linear_schedule_with_warmup` of transformers, one step later: its first step has the rate 0.
  @Test func theLearningRateRisesAndFalls() {
    func schedule(_ shape: String, warmup: Double) -> [Double] {
      let training = Document.section([.init("schedule", .text(shape)), .init("warmup", .number(warmup))])
      let schedule = StepSchedule(training, highest: 8, steps: 10)
      return (1...10).map { schedule.rate(step: $0) }
    }
    #expect(schedule("linear", warmup: 0.2) == [4, 8, 8, 7, 6, 5, 4, 3, 2, 1])
    #expect(schedule("constant", warmup: 0.1) == [8, 8, 8, 8, 8, 8, 8, 8, 8, 8])
    let cosine = schedule("cosine", warmup: 0)
    #expect(cosine[0] == 8 && abs(cosine[5] - 4) < 1e-12 && cosine[9] > 0 && cosine[9] < 0.25)
  }

  /// Products and runs of numbers that are large enough to be cut into parts.
  @Test func sharedWorkHasTheSameBitsOnAnyThreads() throws {
    let (rows, columns, depth) = (300, 128, 128)
    var random = RandomSource(seed: 3)
    func numbers(_ count: Int) -> [Float] { (0..<count).map { _ in Float(random.normal()) } }
    let (a, b, c) = (numbers(rows * depth), numbers(depth * columns), numbers(rows * columns))
    let (one, three) = (try Self.network(Case()), try Self.network(Case(), threads: 3))
    for (isTransposed, kept) in [(false, Float(0)), (true, 0), (false, 1)] {
      func product(_ network: EncoderNetwork) -> [Float] {
        var result = c
        a.withUnsafeBufferPointer { a in
          b.withUnsafeBufferPointer { b in
            network.multiply(
              .init(a.baseAddress!, stride: isTransposed ? rows : depth, isTransposed: isTransposed),
              .init(b.baseAddress!, stride: columns), into: &result, stride: columns, rows: rows, columns: columns,
              depth: depth, kept: kept)
          }
        }
        return result
      }
      let found = product(three)
      #expect(found == product(one))
      for place in [(0, 0), (149, 5), (rows - 1, columns - 1)] {
        let expected = (0..<depth).reduce(Double(kept * c[place.0 * columns + place.1])) { sum, k in
          sum + Double(a[isTransposed ? k * rows + place.0 : place.0 * depth + k]) * Double(b[k * columns + place.1])
        }
        #expect(abs(Double(found[place.0 * columns + place.1]) - expected) < 1e-4)
      }
    }
    var visits = [UInt8](repeating: 0, count: 200_000)
    visits.withUnsafeMutableBufferPointer { visits in
      nonisolated(unsafe) let start = visits.baseAddress!
      three.share(200_000) { range in for index in range where index < 200_000 { start[index] += 1 } }
    }
    #expect(visits.allSatisfy { $0 == 1 }, "each number belongs to one part")
  }
}
