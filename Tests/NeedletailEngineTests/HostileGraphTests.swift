import CNeedletailKernels
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// One way to spoil a good definition, and words its error must hold.
struct HostileGraph: Sendable, CustomTestStringConvertible {
  var name: String
  var node: String?
  var message: String
  var spoil: @Sendable (inout ModelDefinition) -> Void

  var testDescription: String { name }

  init(
    _ name: String, node: String? = nil, _ message: String,
    _ spoil: @escaping @Sendable (inout ModelDefinition) -> Void
  ) {
    (self.name, self.node, self.message, self.spoil) = (name, node, message, spoil)
  }

  // The victim: row(3) → dense1 → hidden(4) → dense2 → logits(2) → softmax → argmax, all int8.
  static let all: [HostileGraph] = [
    .init("no values", "expected 1 to 8192 values, found 0") { $0.graph.values = [] },
    .init("no nodes", "expected 1 to 4096 nodes, found 0") { $0.graph.nodes = [] },
    .init("no outputs", "expected 1 to 64 outputs, found 0") { $0.graph.outputs = [] },
    .init("too many nodes", "expected 1 to 4096 nodes, found 5000") {
      $0.graph.nodes = Array(repeating: $0.graph.nodes[0], count: 5000)
    },
    .init("too many values", "found 9000") {
      $0.graph.values += Array(repeating: $0.graph.values[1], count: 9000 - $0.graph.values.count)
    },
    .init("too many outputs", "found 65") {
      $0.graph.outputs = (0..<65).map { .init(name: "o\($0)", value: 1, kind: .number) }
    },
    .init("too many tensors", "expected 0 to 8192 tensors") {
      $0.graph.tensors += Array(repeating: $0.graph.tensors[1], count: 8192)
    },
    .init("value without columns", node: "dense1", "value 1 \"hidden1\": expected 1 to 1048576 columns, found 0") {
      $0.graph.values[1].columns = 0
    },
    .init("value with negative columns", node: "dense1", "found -4") { $0.graph.values[1].columns = -4 },
    .init("value of absurd width", node: "dense1", "found \(Int.max)") { $0.graph.values[1].columns = .max },
    .init("row of another width", "expected one column for each of 3 features, found 5") {
      $0.graph.values[0].columns = 5
    },
    .init("input out of range", node: "dense1", "reads value 99, expected 0 to 4") { $0.graph.nodes[0].inputs = [99] },
    .init("negative input", node: "dense1", "reads value -1") { $0.graph.nodes[0].inputs = [-1] },
    .init("output out of range", node: "dense2", "writes value \(Int.max)") { $0.graph.nodes[1].outputs = [.max] },
    .init("cycle", node: "dense1", "reads value 1 before any node has written it") { $0.graph.nodes[0].inputs = [1] },
    .init("forward reference", node: "dense1", "reads value 2 before any node has written it") {
      $0.graph.nodes[0].inputs = [2]
    },
    .init("nodes out of order", node: "dense2", "before any node has written it") { $0.graph.nodes.swapAt(0, 1) },
    .init("node writes the row", node: "dense1", "writes value 0, which is the input row") {
      $0.graph.nodes[0].outputs = [0]
    },
    .init("value written twice", node: "dense2", "writes value 1, which node \"dense1\" has written") {
      $0.graph.nodes[1].outputs = [1]
    },
    .init("value never written", "value 5 \"orphan\": no node writes it") {
      $0.graph.values.append(.init(name: "orphan", columns: 1))
    },
    .init("output of no value", "output \"class\": value 77, expected 0 to 4") { $0.graph.outputs[1].value = 77 },
    .init("output without name", "expected a name of 1 to 256 bytes") { $0.graph.outputs[0].name = "" },
    .init("output named twice", "output \"class\": named twice") { $0.graph.outputs[2].name = "class" },
    .init("class from no argmax", "output \"label\": expected a class from an argmax, found value 3") {
      $0.graph.outputs[2].value = 3
    },
    .init("class from the row", "expected a class from an argmax") { $0.graph.outputs[1].value = 0 },
    .init("weights of another shape", node: "dense1", "expected shape [4, 3], found [3, 4]") {
      $0.graph.tensors[0].shape = [3, 4]
      $0.graph.tensors[0].storage = .int8(Array(repeating: 1, count: 12), scales: [1, 1, 1])
    },
    .init("weights index out of range", node: "dense1", "weights in tensor 9, expected 0 to 3") {
      $0.graph.nodes[0].operation = Dense(weights: 9, bias: nil, activation: .relu)
    },
    .init("bias index out of range", node: "dense1", "bias in tensor -2") {
      $0.graph.nodes[0].operation = Dense(weights: 0, bias: -2, activation: .relu)
    },
    .init("bias of another length", node: "dense1", "expected fp32 of shape [4], found [2]") {
      $0.graph.nodes[0].operation = Dense(weights: 0, bias: 3, activation: .relu)
    },
    .init("int8 bias", node: "dense1", "expected fp32 of shape [4]") {
      $0.graph.nodes[0].operation = Dense(weights: 0, bias: 2, activation: .relu)
    },
    .init("short weights", node: "dense1", "expected 12 elements for shape [4, 3], found 11") {
      $0.graph.tensors[0].storage = .int8(Array(repeating: 1, count: 11), scales: [1, 1, 1, 1])
    },
    .init("shape that overflows", node: "dense1", "overflows") { $0.graph.tensors[0].shape = [.max, .max] },
    .init("shape with zero", node: "dense1", "expected a shape of 1 to 5 positive sizes, found [0, 3]") {
      $0.graph.tensors[0].shape = [0, 3]
    },
    .init("shape with a negative size", node: "dense1", "found [-4, -3]") { $0.graph.tensors[0].shape = [-4, -3] },
    .init("shape without sizes", node: "dense1", "found []") { $0.graph.tensors[0].shape = [] },
    .init("shape of three sizes", node: "dense1", "found [4, 3, 1]") { $0.graph.tensors[0].shape = [4, 3, 1] },
    .init("missing scale", node: "dense1", "one scale a row") {
      $0.graph.tensors[0].storage = .int8(Array(repeating: 1, count: 12), scales: [1, 1, 1])
    },
    .init("zero scale", node: "dense1", "scale 1: expected a finite number above 0, found 0.0") {
      $0.graph.tensors[0].storage = .int8(Array(repeating: 1, count: 12), scales: [1, 0, 1, 1])
    },
    .init("negative scale", node: "dense1", "found -1.0") {
      $0.graph.tensors[0].storage = .int8(Array(repeating: 1, count: 12), scales: [1, -1, 1, 1])
    },
    .init("NaN scale", node: "dense1", "scale 3: expected a finite number above 0, found nan") {
      $0.graph.tensors[0].storage = .int8(Array(repeating: 1, count: 12), scales: [1, 1, 1, .nan])
    },
    .init("infinite scale", node: "dense1", "scale 0: expected a finite number above 0, found inf") {
      $0.graph.tensors[0].storage = .int8(Array(repeating: 1, count: 12), scales: [.infinity, 1, 1, 1])
    },
    .init("shape whose product overflows to what is there", node: "dense1", "overflows") {
      $0.graph.tensors[0].shape = [1 << 62, 16]
    },
    .init("weights that nothing uses and that are short", "tensor \"spare\": expected 4 elements") {
      $0.graph.tensors.append(WeightTensor(name: "spare", shape: [2, 2], storage: .float32([1])))
    },
    .init("weight of −128", node: "dense1", "element 5: expected −127 to 127, found −128") {
      var elements = [Int8](repeating: 1, count: 12)
      elements[5] = -128
      $0.graph.tensors[0].storage = .int8(elements, scales: [1, 1, 1, 1])
    },
    .init("infinite weight", node: "dense1", "tensor \"bias1\", element 2: expected a finite number, found inf") {
      $0.graph.tensors[1].storage = .float32([0, 0, .infinity, 0])
    },
    .init("too few fill values", node: "dense1", "expected 3 fill values, found 1") {
      $0.graph.nodes[0].operation = Impute(fill: [0])
    },
    .init("NaN fill value", node: "dense1", "fill values, column 1: expected a finite number, found nan") {
      $0.graph.nodes[0].operation = Impute(fill: [0, .nan, 0])
    },
    .init("zero affine scale", node: "dense1", "scale of column 2: expected a number other than 0") {
      $0.graph.nodes[0].operation = Affine(scaling: .standardise, offset: [0, 0, 0], scale: [1, 1, 0])
    },
    .init("infinite affine scale", node: "dense1", "scales, column 0: expected a finite number, found inf") {
      $0.graph.nodes[0].operation = Affine(scaling: .minMax, offset: [0, 0, 0], scale: [.infinity, 1, 1])
    },
    .init("one-hot with too few widths", node: "dense1", "expected 3 one-hot widths, found 2") {
      $0.graph.nodes[0].operation = OneHot(widths: [0, 2])
    },
    .init("negative one-hot width", node: "dense1", "width of column 1: expected 0 to 1048576, found -1") {
      $0.graph.nodes[0].operation = OneHot(widths: [0, -1, 2])
    },
    .init("huge one-hot width", node: "dense1", "found \(Int.max)") {
      $0.graph.nodes[0].operation = OneHot(widths: [0, .max, .max])
    },
    .init("one-hot of another width", node: "dense1", "expected 7 output columns, found 4") {
      $0.graph.nodes[0].operation = OneHot(widths: [0, 5, 0])
    },
    .init("softmax of another width", node: "softmax", "expected 2 output columns, found 3") {
      $0.graph.values[3].columns = 3
    },
    .init("argmax of two columns", node: "argmax", "expected 1 output columns, found 2") {
      $0.graph.values[4].columns = 2
    },
    // Values of other types and shapes.
    .init("text without a tokenizer", node: "dense1", "expected text in the value of bound texts only, found it here") {
      $0.graph.values[1].type.element = .text
    },
    .init("row of text", "value 0 \"row\": expected text in the value of bound texts only") {
      $0.graph.values[0].type.element = .text
    },
    .init("row of whole numbers", "value 0 \"row\": features are bound as f32 or f64, found i64") {
      $0.graph.values[0].type.element = .int64
    },
    .init("row of tokens", "features are bound per row, found one item per token") {
      $0.graph.values[0].type.domain = .token
    },
    .init("item without dimensions", node: "dense1", "expected an item of 1 to 4 dimensions, found 0") {
      $0.graph.values[1].type.shape = []
    },
    .init("item of too many dimensions", node: "dense1", "expected an item of 1 to 4 dimensions, found 5") {
      $0.graph.values[1].type.shape = [1, 1, 1, 2, 2]
    },
    .init("item whose size overflows", node: "dense1", "expected 1 to 1048576 columns, found shape") {
      $0.graph.values[1].type.shape = [1 << 40, 1 << 40]
    },
    .init("layer on f64", node: "dense1", "expected f32 columns as input, found f64 [3] per row") {
      $0.graph.values[0].type.element = .float64
    },
    .init("layer that writes f64", node: "dense1", "expected f32 [4] per row in value 1, found f64 [4] per row") {
      $0.graph.values[1].type.element = .float64
    },
    .init("layer on two dimensions", node: "dense2", "expected f32 columns as input, found f32 [2, 2] per row") {
      $0.graph.values[1].type.shape = [2, 2]
      $0.graph.nodes[0] = Node(name: "reshape", input: 0, output: 1, operation: Reshape(shape: [2, 2]))
      $0.graph.values[0].columns = 4
      $0.schema = ModelFixtures.schema(features: 4)
    },
    .init("domain that changes on the way", node: "dense1", "found f32 [4] per token") {
      $0.graph.values[1].type.domain = .token
    },
    .init("output of two dimensions", "output \"probabilities\": expected f32 columns, found f32 [1, 2] per row") {
      $0.graph.values[3].type.shape = [1, 2]
      $0.graph.nodes[2] = Node(name: "reshape", input: 2, output: 3, operation: Reshape(shape: [1, 2]))
      $0.graph.nodes[3] = Node(
        name: "argmax", input: 2, output: 4, operation: ArgMax())
    },
    .init("two inputs of a layer", node: "dense1", "expected 1 inputs, found 2") { $0.graph.nodes[0].inputs = [0, 0] },
    .init("layer without outputs", "value 1 \"hidden1\": no node writes it") {
      $0.graph.nodes[0].outputs = []
      $0.graph.nodes[1].inputs = [0]
    },
    .init("too many inputs", node: "dense1", "expected at most 256 inputs and outputs, found 300 and 1") {
      $0.graph.nodes[0].inputs = Array(repeating: 0, count: 300)
    },
    .init("value written twice by one node", node: "dense1", "writes value 1, which itself has written") {
      $0.graph.nodes[0].outputs = [1, 1]
    },
    .init("cycle of two nodes", node: "dense1", "reads value 2 before any node has written it") {
      $0.graph.nodes[0] = Node(name: "dense1", inputs: [0, 2], outputs: [1], operation: Add())
    },
    .init("sum of two shapes", node: "dense2", "expected two inputs of one f32 or f64 type") {
      $0.graph.nodes[1] = Node(name: "dense2", inputs: [0, 1], outputs: [2], operation: Add())
    },
    .init("concat of two types", node: "dense2", "expected inputs that differ in their last dimension only") {
      $0.graph.values[1].type.domain = .token
      $0.graph.nodes[0] = Node(name: "dense1", inputs: [0], outputs: [1], operation: Reshape(shape: [3]))
      $0.graph.nodes[0] = Node(name: "dense1", inputs: [0, 0], outputs: [1], operation: Concat())
      $0.graph.values[1].type = ValueType(columns: 6)
      $0.graph.values[2].type = ValueType(.float32, [1, 6])
      $0.graph.nodes[1] = Node(name: "reshape", input: 1, output: 2, operation: Reshape(shape: [1, 6]))
      $0.graph.nodes[2] = Node(name: "dense2", inputs: [1, 2], outputs: [3], operation: Concat())
    },
    .init("column beyond the row", node: "dense1", "selects column 3, expected 0 to 2") {
      $0.graph.nodes[0].operation = SelectColumns(columns: [0, 3])
    },
    .init("negative column", node: "dense1", "selects column -1") {
      $0.graph.nodes[0].operation = SelectColumns(columns: [-1])
    },
    .init("no columns", node: "dense1", "expected 1 to 1048576 columns, found 0") {
      $0.graph.nodes[0].operation = SelectColumns(columns: [])
    },
    .init("clip without bounds", node: "dense1", "expected a bound, found none") {
      $0.graph.nodes[0].operation = Clip()
    },
    .init("clip with bounds for other columns", node: "dense1", "expected 0, 1 or 3 lower bounds, found 2") {
      $0.graph.nodes[0].operation = Clip(low: [0, 0])
    },
    .init("clip to nothing", node: "dense1", "column 1: expected a lower bound up to the upper one, found 2.0 and 1.0")
    {
      $0.graph.nodes[0].operation = Clip(low: [0, 2, 0], high: [1])
    },
    .init("clip at NaN", node: "dense1", "upper bound 0: expected a finite number, found nan") {
      $0.graph.nodes[0].operation = Clip(high: [.nan])
    },
    .init("reshape to another size", node: "dense1", "expected 1 to 4 dimensions of 3 elements in all, found [2, 2]") {
      $0.graph.nodes[0].operation = Reshape(shape: [2, 2])
    },
    .init("reshape that overflows", node: "dense1", "of 3 elements in all") {
      $0.graph.nodes[0].operation = Reshape(shape: [1 << 32, 1 << 32])
    },
    .init(
      "reshape to very many dimensions", node: "dense1",
      "expected 1 to 4 dimensions of 3 elements in all, found 1000 dimensions"
    ) {
      $0.graph.nodes[0].operation = Reshape(shape: Array(repeating: 1, count: 1000))
    },
    .init("reshape to nothing", node: "dense1", "of 3 elements in all, found 0 dimensions") {
      $0.graph.nodes[0].operation = Reshape(shape: [])
    },
    .init("whole numbers as weights", node: "dense1", "expected f32, f16 or int8, found i32") {
      $0.graph.tensors[0].storage = .int32(Array(repeating: 1, count: 12))
    },
    .init("infinite half", node: "dense1", "element 1: expected a finite number, found inf") {
      $0.graph.tensors[0].storage = .float16([0, 0x7c00] + Array(repeating: 0, count: 10))
    },
    .init("tensor of six dimensions", node: "dense1", "expected a shape of 1 to 5 positive sizes") {
      $0.graph.tensors[0].shape = [4, 3, 1, 1, 1, 1]
    },
    .init("too few labels", node: "argmax", "output \"class\": expected a label for each of 2 classes, found 1") {
      $0.labels = ["a"]
    },
    .init("too many labels", "expected at most 65536, found 70000") { $0.labels = Array(repeating: "a", count: 70000) },
    .init("no features", "expected 1 to 65536 features, found 0") { $0.schema.features = [] },
    .init("feature without name", node: "", "expected a name of 1 to 256 bytes, found 0") {
      $0.schema.features[1].name = ""
    },
    .init("feature named twice", node: "x0", "feature \"x0\": named twice") { $0.schema.features[1].name = "x0" },
    .init("no categories", node: "x1", "expected 1 to 1048576 categories, found 0") {
      $0.schema.features[1].kind = .categorical(categories: [], unknown: .refuse)
    },
    .init("category named twice", node: "x1", "a category is named twice") {
      $0.schema.features[1].kind = .categorical(categories: ["a", "b", "a"], unknown: .refuse)
    },
    .init("text without texts", "text input: expected one text for each of 1 features that are text, found 0") {
      $0.schema.features[1].kind = .text
    },
    .init("texts without text", "text input: expected one text for each of 0 features that are text, found 2") {
      $0.bindTexts(2)
    },
    .init("texts out of range", "text input: value 5, expected 1 to 4") { $0.graph.textInput = 5 },
    .init("texts in the row", "text input: value 0, expected 1 to 4") { $0.graph.textInput = 0 },
    .init("texts that are numbers", "text input: expected text columns per row, found f32 [4] per row") {
      $0.graph.textInput = 1
    },
    .init("texts per token", "text input: expected text columns per row, found text [2] per token") {
      $0.bindTexts(2)
      $0.graph.values[5].type.domain = .token
    },
    .init("node writes texts", node: "dense1", "writes value 5, which holds the texts of the input") {
      $0.bindTexts(1)
      $0.schema.features[1].kind = .text
      $0.graph.nodes[0].outputs = [5]
    },
    .init("layer of texts", node: "dense1", "expected f32 columns as input, found text [1] per row") {
      $0.bindTexts(1)
      $0.schema.features[1].kind = .text
      $0.graph.nodes[0].inputs = [5]
    },
    .init("output of texts", "output \"probabilities\": expected f32 columns, found text [1] per row") {
      $0.bindTexts(1)
      $0.schema.features[1].kind = .text
      $0.graph.outputs[0].value = 5
    },
    .init("too many texts", "features: expected at most 64 that are text, found 65") {
      $0.bindTexts(65)
      $0.schema.features = (0..<65).map { Feature(name: "t\($0)", kind: .text, missing: .impute) }
      $0.graph.values[0].columns = 65
    },
    .init("empty category", node: "x1", "an empty category would read as missing") {
      $0.schema.features[1].kind = .categorical(categories: ["a", ""], unknown: .refuse)
    },
  ]
}

extension ModelDefinition {
  /// Adds a value of so many texts.
  fileprivate mutating func bindTexts(_ count: Int) {
    graph.textInput = graph.values.count
    graph.values.append(.init(name: "texts", type: ValueType(.text, [count])))
  }
}

@Suite struct HostileGraphTests {
  @Test(arguments: HostileGraph.all)
  func aHostileGraphIsRefusedWithOneSentence(_ hostile: HostileGraph) {
    var definition = ModelFixtures.mlp(widths: [3, 4, 2], precision: .int8)
    hostile.spoil(&definition)
    let error = #expect(throws: PlanError.self) { try CompiledModel(definition) }
    #expect(error?.message.contains(hostile.message) == true, "\(error?.message ?? "")")
    #expect(error?.node == hostile.node)
  }

  @Test func theUnspoiledGraphCompiles() throws {
    _ = try CompiledModel(ModelFixtures.mlp(widths: [3, 4, 2], precision: .int8))
  }

  @Test func theDepthLimitIsTheKernels() {
    #expect(Limits.int8DepthMax == Int(NT_S8_DEPTH_MAX))
  }

  @Test(arguments: [0, -1, 4097])
  func rowsOutOfRangeAreRefused(rowsMax: Int) throws {
    var options = PlanOptions()
    options.rowsMax = rowsMax
    let graph = ModelFixtures.linearRegression().graph
    let error = #expect(throws: PlanError.self) { try Plan(graph, options: options) }
    #expect(error?.message == "rows of a plan: expected 1 to 4096, found \(rowsMax)")
  }

  @Test func int8RowsBeyondTheAccumulatorAreRefused() throws {
    let columns = 133_145
    let graph = ModelGraph(
      task: .regression,
      values: [.init(name: "row", columns: 1), .init(name: "wide", columns: columns), .init(name: "y", columns: 1)],
      nodes: [
        Node(name: "one-hot", input: 0, output: 1, operation: OneHot(widths: [columns])),
        Node(name: "long", input: 1, output: 2, operation: Dense(weights: 0, bias: nil, activation: .identity)),
      ],
      outputs: [.init(name: "y", value: 2, kind: .number)],
      tensors: [
        WeightTensor(
          name: "w", shape: [1, columns], storage: .int8(Array(repeating: 1, count: columns), scales: [1]))
      ])
    let error = #expect(throws: PlanError.self) { try Plan(graph) }
    #expect(error?.node == "long")
    #expect(error?.message.contains("expected at most 133144 columns for int8 weights, found 133145") == true)
  }
}
