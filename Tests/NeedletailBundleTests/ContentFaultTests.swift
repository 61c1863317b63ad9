import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@Suite("Contents that do not fit together")
struct ContentFaultTests {
  static let faults: [Fault<BundleContents>] = [
    // Features and labels.
    Fault("feature-without-a-name", .malformed) { $0.definition.schema.features[0].name = "" },
    Fault("feature-name-long", .oversized) {
      $0.definition.schema.features[0].name = String(repeating: "x", count: 257)
    },
    Fault("feature-twice", .invalidGraph) { $0.definition.schema.features[1].name = "alcohol" },
    Fault("category-twice", .invalidGraph) {
      $0.definition.schema.features[2].kind = .categorical(categories: ["a", "a"], unknown: .zeros)
    },
    Fault("category-empty", .invalidGraph) {
      $0.definition.schema.features[2].kind = .categorical(categories: ["a", ""], unknown: .zeros)
    },
    Fault("no-features", .malformed) { $0.definition.schema.features = [] },
    Fault("label-twice", .invalidGraph) { $0.definition.labels[1] = "good" },
    Fault("label-missing", .invalidGraph) { $0.definition.labels.removeLast() },
    Fault("labels-on-a-regression", .invalidGraph) { $0.definition.graph.task = .regression },
    // Values, nodes, outputs.
    Fault("input-width", .invalidGraph) { $0.definition.graph.values[0].columns = 4 },
    Fault("value-of-no-columns", .malformed) { $0.definition.graph.values[1].columns = 0 },
    Fault("value-too-wide", .oversized) { $0.definition.graph.values[1].columns = 1 << 21 },
    Fault("node-reads-ahead", .invalidGraph) { $0.definition.graph.nodes[0].inputs = [4] },
    Fault("node-reads-nothing", .invalidGraph) { $0.definition.graph.nodes[0].inputs = [99] },
    Fault("node-writes-nowhere", .invalidGraph) { $0.definition.graph.nodes[0].outputs = [99] },
    Fault("node-writes-the-input", .invalidGraph) { $0.definition.graph.nodes[0].outputs = [0] },
    Fault("value-written-twice", .invalidGraph) { $0.definition.graph.nodes[1].outputs = [1] },
    Fault("value-without-a-writer", .invalidGraph) { $0.definition.graph.values.append(.init(name: "x", columns: 1)) },
    Fault("no-outputs", .malformed) { $0.definition.graph.outputs = [] },
    Fault("output-of-no-value", .invalidGraph) { $0.definition.graph.outputs[0].value = 99 },
    Fault("output-twice", .invalidGraph) { $0.definition.graph.outputs[1].name = "label" },
    Fault("class-from-probabilities", .invalidGraph) { $0.definition.graph.outputs[1].value = 6 },
    Fault("fill-short", .invalidGraph) { $0.definition.graph.nodes[0].operation = Impute(fill: [1]) },
    Fault("fill-nan", .invalidGraph) { $0.definition.graph.nodes[0].operation = Impute(fill: [1, .nan, 2]) },
    Fault("one-hot-width", .invalidGraph) { $0.definition.graph.nodes[1].operation = OneHot(widths: [0, 0, 4]) },
    Fault("one-hot-huge", .oversized) { $0.definition.graph.nodes[1].operation = OneHot(widths: [0, 0, 1 << 30]) },
    Fault("scale-infinite", .invalidGraph) {
      $0.definition.graph.nodes[2].operation = Affine(
        scaling: .minMax, offset: [0, 0, 0, 0, 0], scale: [1, 1, 1, 1, .infinity])
    },
    Fault("dense-of-no-tensor", .invalidGraph) {
      $0.definition.graph.nodes[3].operation = Dense(weights: 99, bias: nil, activation: .relu)
    },
    Fault("dense-shape", .invalidGraph) {
      $0.definition.graph.nodes[3].operation = Dense(weights: 2, bias: 1, activation: .relu)
    },
    Fault("bias-of-no-tensor", .invalidGraph) {
      $0.definition.graph.nodes[3].operation = Dense(weights: 0, bias: 99, activation: .relu)
    },
    // Weights.
    Fault("weight-nan", .invalidGraph) { $0.definition.graph.tensors[3].storage = .float32([0, .nan, 0]) },
    Fault("weight-minus-128", .invalidGraph) {
      $0.definition.graph.tensors[0].storage = .int8(
        [Int8](repeating: -128, count: 20), scales: [Float](repeating: 1, count: 4))
    },
    Fault("scale-negative", .invalidGraph) {
      $0.definition.graph.tensors[0].storage = .int8(
        [Int8](repeating: 1, count: 20), scales: [Float](repeating: -1, count: 4))
    },
    // Golden samples.
    Fault("golden-cell-missing", .invalidGraph) { $0.golden[0].cells.removeLast() },
    Fault("golden-tolerance-nan", .invalidGraph) { $0.golden[0].tolerance = .nan },
    Fault("golden-tolerance-negative", .invalidGraph) { $0.golden[0].tolerance = -1 },
    Fault("golden-of-no-output", .invalidGraph) {
      $0.golden[0].expectation = .answers([("colour", .numbers([1]))])
    },
    Fault("golden-width", .invalidGraph) {
      $0.golden[0].expectation = .answers([("probabilities", .numbers([1]))])
    },
    Fault("golden-number-for-a-label", .invalidGraph) {
      $0.golden[0].expectation = .answers([("label", .numbers([1]))])
    },
    Fault("golden-of-no-label", .invalidGraph) {
      $0.golden[0].expectation = .answers([("label", .strings(["superb"]))])
    },
    Fault("golden-nan", .invalidGraph) {
      $0.golden[0].expectation = .answers([("probabilities", .numbers([.nan, 0, 0]))])
    },
    // Drift, metrics.
    Fault("drift-of-no-feature", .invalidGraph) { $0.drift?.features[0].name = "tannin" },
    Fault("drift-twice", .invalidGraph) { $0.drift?.features[1].name = "alcohol" },
    Fault("drift-edges-descend", .invalidGraph) { $0.drift?.features[0].quantileEdges = [1, 3, 2, 4] },
    Fault("drift-edge-nan", .invalidGraph) { $0.drift?.features[0].quantileEdges = [1, .nan, 2, 4] },
    Fault("drift-bins", .invalidGraph) { $0.drift?.features[0].binCounts = [1] },
    Fault("drift-rate", .invalidGraph) { $0.drift?.features[0].missingRate = 1.5 },
    Fault("metric-nan", .invalidGraph) { $0.metrics["test.auc"] = .nan },
    Fault("metric-without-a-name", .invalidGraph) { $0.metrics[""] = 1 },
  ]

  @Test(arguments: faults)
  func faultyContentsAreRefusedByReaderAndWriter(fault: Fault<BundleContents>) throws {
    var contents = BundleFixtures.contents()
    try fault.apply(&contents)
    let sealed = try assembly(contents, validating: false).encode(signing: [BundleFixtures.key])
    let error = refusal(sealed)
    #expect(error?.reason == fault.reason, "\(error?.message ?? "accepted")")
    #expect(throws: BundleError.self) { try BundleFixtures.bundle(contents) }
  }

  @Test(arguments: [[0xFF, 0xFE], [0x61, 0x00, 0x62], [0xC0, 0x80]] as [[UInt8]])
  func textThatIsNotUTF8OrHidesBehindNULIsRefused(text: [UInt8]) throws {
    var assembly = try assembly()
    let index = try #require(assembly.sections.firstIndex { $0.number == SectionType.labels.rawValue })
    assembly.sections[index].stored = [0x0A, UInt8(text.count)] + text + [0x0A, 1, 0x62, 0x0A, 1, 0x63]
    assembly.sections[index].rawBytes = assembly.sections[index].stored.count
    #expect(refusal(try assembly.encode(signing: [BundleFixtures.key]))?.reason == .malformed)
  }
}
