import CNeedletailProto
import Glibc
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@Suite("Graphs of format 1.1")
struct OpenGraphTests {
  @Test func everythingComesBackEqual() throws {
    let contents = BundleContents(definition: BundleFixtures.openGraph())
    #expect(try read(BundleFixtures.bundle(contents)) == contents)
    _ = try CompiledModel(contents.definition)
  }

  @Test func theHeaderAsksForAReaderOfFormat11() throws {
    let bytes = try BundleFixtures.bundle(BundleContents(definition: BundleFixtures.openGraph()))
    #expect(Array(bytes[8..<12]) == [1, 0, 1, 0], "major and minor")
    #expect(Array(bytes[16..<24]) == [1, 0, 0, 0, 0, 0, 0, 0], "required features")
  }

  @Test func whatFormat10CanSayIsStillWrittenAsFormat10() throws {
    let bytes = try BundleFixtures.bundle()
    #expect(Array(bytes[8..<12]) == [1, 0, 0, 0], "major and minor")
    #expect(Array(bytes[16..<24]).allSatisfy { $0 == 0 }, "required features")
  }

  @Test func aNewOperationAloneNeedsNoBitForOldReadersRefuseItByItself() throws {
    var definition = BundleFixtures.line(weight: 3)
    definition.graph.nodes[0].operation = SelectColumns(columns: [0])
    definition.graph.tensors = []
    let bytes = try BundleFixtures.bundle(BundleContents(definition: definition))
    #expect(Array(bytes[16..<24]).allSatisfy { $0 == 0 })
    #expect(try read(bytes).definition == definition)
  }

  @Test func coversOfLeavesComeBackAndAreOfFormat13() throws {
    var trees = TreeEnsemble(
      comparison: .below, sums: .float32, nodes: [1, 0, 0], thresholds: [0.5], leaves: [1, 2])
    func bundle(_ covers: [Float]) throws -> [UInt8] {
      trees.covers = covers
      var definition = BundleFixtures.line(weight: 3)
      definition.graph.nodes[0].operation = trees
      definition.graph.tensors = []
      let bytes = try BundleFixtures.bundle(BundleContents(definition: definition))
      #expect(try read(bytes).definition == definition)
      #expect(Array(bytes[16..<24]).allSatisfy { $0 == 0 }, "answers do not depend on covers")
      return bytes
    }
    #expect(try Array(bundle([30, 10])[8..<12]) == [1, 0, 3, 0], "major and minor")
    #expect(try Array(bundle([])[8..<12]) == [1, 0, 0, 0], "major and minor")
  }

  // MARK: - what this reader does not know

  /// A bundle whose graph message was changed before it was sealed.
  private func bundle(
    requiredFeatures: UInt64 = 0, _ change: (UnsafeMutablePointer<Needletail__V1__Graph>) -> Void
  ) throws -> [UInt8] {
    var assembly = try assembly(BundleContents(definition: BundleFixtures.line(weight: 3, bias: 1)))
    let index = try #require(assembly.sections.firstIndex { $0.number == SectionType.graph.rawValue })
    let message = try #require(
      assembly.sections[index].stored.withUnsafeBufferPointer {
        needletail__v1__graph__unpack(nil, $0.count, $0.baseAddress)
      })
    defer { needletail__v1__graph__free_unpacked(message, nil) }
    change(message)
    var bytes = [UInt8](repeating: 0, count: needletail__v1__graph__get_packed_size(message))
    let count = needletail__v1__graph__pack(message, &bytes)
    #expect(count == bytes.count)
    assembly.sections[index].stored = bytes
    assembly.sections[index].rawBytes = bytes.count
    assembly.requiredFeatures = requiredFeatures
    return try assembly.encode(signing: [BundleFixtures.key])
  }

  @Test func anUnknownOperationIsNamedByItsFieldNumber() throws {
    var assembly = try assembly(BundleContents(definition: BundleFixtures.line(weight: 3)))
    let index = try #require(assembly.sections.firstIndex { $0.number == SectionType.graph.rawValue })
    // task "regression"; two values of one column; node "new" with field 999, an empty message.
    let node: [UInt8] = [0x0a, 3] + Array("new".utf8) + [0x18, 1, 0xba, 0x3e, 0]
    let value: [UInt8] = [0x10, 1]
    let output: [UInt8] = [0x0a, 1, 0x79, 0x10, 1]
    var bytes: [UInt8] = [0x0a, 10] + Array("regression".utf8)
    for (tag, message) in [(0x12, value), (0x12, value), (0x1a, node), (0x22, output)] {
      bytes += [UInt8(tag), UInt8(message.count)] + message
    }
    assembly.sections[index].stored = bytes
    assembly.sections[index].rawBytes = bytes.count
    let error = refusal(try assembly.encode(signing: [BundleFixtures.key]))
    #expect(error?.reason == .unsupported)
    #expect(
      error?.message
        == "node \"new\": operation: expected one of engine generation 1, found field 999, which it does not know")
  }

  @Test func aNodeWithoutAnOperationIsRefused() throws {
    let error = refusal(
      try bundle { graph in
        graph.pointee.nodes[0]!.pointee.operation_case = NEEDLETAIL__V1__NODE__OPERATION__NOT_SET
      })
    #expect(error?.reason == .unsupported)
    #expect(error?.message.hasSuffix("found none") == true, "\(error?.message ?? "")")
  }

  @Test(arguments: [
    (12 as UInt32, 0 as UInt32, "element type: expected one of [1, 2, 5, 6, 9], found 12"),
    (3, 0, "element type: expected one of [1, 2, 5, 6, 9], found 3"), (0, 7, "domain: expected 0 to 2, found 7"),
  ])
  func unknownTypesAndDomainsAreNamedWithTheNode(type: UInt32, domain: UInt32, message: String) throws {
    let error = refusal(
      try bundle { graph in
        graph.pointee.values[1]!.pointee.type = Needletail__V1__DataType(type)
        graph.pointee.values[1]!.pointee.domain = Needletail__V1__Domain(domain)
      })
    #expect(error?.reason == .unsupported)
    #expect(error?.message == "value 1 \"y\" of node \"line\": \(message)")
  }

  @Test func aShapeThatContradictsTheColumnsIsRefused() throws {
    let error = refusal(
      try bundle { graph in
        let value = graph.pointee.values[1]!
        value.pointee.n_shape = 2
        value.pointee.shape = UnsafeMutablePointer<UInt32>(OpaquePointer(malloc(8)))
        value.pointee.shape[0] = 3
        value.pointee.shape[1] = 1
      })
    #expect(error?.reason == .invalidGraph)
    #expect(error?.message.contains("node \"line\": expected 1 elements in an item, found shape [3, 1]") == true)
  }

  @Test func valuesInOldAndNewFieldsAtOnceAreRefused() throws {
    let error = refusal(
      try bundle { graph in
        let node = graph.pointee.nodes[0]!
        node.pointee.n_inputs = 1
        node.pointee.inputs = UnsafeMutablePointer<UInt32>(OpaquePointer(calloc(1, 4)))
      })
    #expect(error?.reason == .malformed)
    #expect(error?.message.hasSuffix("found both") == true)
  }

  /// Makes the graph's node name what it reads and writes as nodes of several values do.
  private static func list(
    inputs: Int, outputs: Int, in graph: UnsafeMutablePointer<Needletail__V1__Graph>
  ) {
    let node = graph.pointee.nodes[0]!
    (node.pointee.input, node.pointee.output) = (0, 0)
    node.pointee.n_inputs = inputs
    node.pointee.inputs = UnsafeMutablePointer<UInt32>(OpaquePointer(calloc(max(1, inputs), 4)))
    node.pointee.n_outputs = outputs
    node.pointee.outputs = UnsafeMutablePointer<UInt32>(OpaquePointer(calloc(max(1, outputs), 4)))
    for index in 0..<outputs { node.pointee.outputs[index] = 1 }
  }

  @Test(arguments: [(257, 1), (1, 257)])
  func aNodeOfTooManyValuesIsRefusedBeforeAnyValueIsLookedAt(inputs: Int, outputs: Int) throws {
    // The value's type is unknown, too; its error names the node that writes it, which takes a search.
    let error = refusal(
      try bundle(requiredFeatures: 1) { graph in
        Self.list(inputs: inputs, outputs: outputs, in: graph)
        graph.pointee.values[1]!.pointee.type = Needletail__V1__DataType(12)
      })
    #expect(error?.reason == .oversized)
    #expect(
      error?.message
        == "node \"line\": expected at most 256 inputs and outputs, found \(inputs) and \(outputs)")
  }

  // MARK: - the required bit

  @Test func anOpenGraphWithoutItsBitIsRefused() throws {
    var assembly = try assembly(BundleContents(definition: BundleFixtures.openGraph()))
    assembly.requiredFeatures = 0
    let error = refusal(try assembly.encode(signing: [BundleFixtures.key]))
    #expect(error?.reason == .malformed)
    #expect(
      error?.message
        == "header: required features: expected bit 0 for a graph that readers of format 1.0 would misread, found it unset"
    )
  }

  @Test func weightsStoredByHalvesNeedTheBit() throws {
    var definition = BundleFixtures.line(weight: 3)
    definition.graph.tensors[0].storage = .float16([0x4200])
    var assembly = try assembly(BundleContents(definition: definition))
    #expect(assembly.requiredFeatures == 1)
    #expect(refusal(try assembly.encode(signing: [BundleFixtures.key])) == nil)
    assembly.requiredFeatures = 0
    #expect(refusal(try assembly.encode(signing: [BundleFixtures.key]))?.reason == .malformed)
  }

  @Test func oneValueInAListNeedsTheBitForOldReadersSeeNone() throws {
    // A reader of format 1.0 would take the node for one from value 0 to value 0.
    let unset = refusal(try bundle { Self.list(inputs: 1, outputs: 1, in: $0) })
    #expect(unset?.reason == .malformed)
    let set = try read(bundle(requiredFeatures: 1) { Self.list(inputs: 1, outputs: 1, in: $0) })
    #expect(set.definition == BundleFixtures.line(weight: 3, bias: 1))
  }

  @Test func theBitOnAGraphThatDoesNotNeedItIsRead() throws {
    #expect(refusal(try bundle(requiredFeatures: 1) { _ in }) == nil)
  }

  // MARK: - faults that any reader must find

  static let faults: [Fault<ModelDefinition>] = [
    Fault("cycle", .invalidGraph) {
      $0.graph.nodes[2] = Node(name: "add", inputs: [1, 3], outputs: [3], operation: Add())
    },
    Fault("value-read-before-it-is-written", .invalidGraph) { $0.graph.nodes[2].inputs = [1, 4] },
    Fault("two-nodes-write-one-value", .invalidGraph) { $0.graph.nodes[3].outputs = [3] },
    Fault("three-inputs-to-add", .invalidGraph) { $0.graph.nodes[2].inputs = [1, 2, 1] },
    Fault("too-many-inputs", .oversized) { $0.graph.nodes[3].inputs = Array(repeating: 1, count: 257) },
    Fault("types-that-differ", .invalidGraph) { $0.graph.nodes[2].inputs = [0, 1] },
    Fault("domains-that-differ", .invalidGraph) {
      $0.graph.values[2].type.domain = .token
    },
    Fault("text", .unsupported) { $0.graph.values[0].type = ValueType(.text, [3]) },
    Fault("row-per-token", .unsupported) { $0.graph.values[0].type.domain = .token },
    Fault("select-beyond-the-row", .invalidGraph) {
      $0.graph.nodes[1].operation = SelectColumns(columns: [2, 0, 3])
    },
    Fault("reshape-of-another-size", .invalidGraph) { $0.graph.nodes[4].operation = Reshape(shape: [2, 4]) },
    Fault("infinite-half", .invalidGraph) {
      $0.graph.tensors[0].storage = .float16([0x7c00] + Array(repeating: 0, count: 11))
    },
  ]

  @Test(arguments: faults)
  func faultyOpenGraphsAreRefusedByReaderAndWriter(fault: Fault<ModelDefinition>) throws {
    var definition = BundleFixtures.openGraph()
    try fault.apply(&definition)
    let contents = BundleContents(definition: definition)
    let sealed = try assembly(contents, validating: false).encode(signing: [BundleFixtures.key])
    let error = refusal(sealed)
    #expect(error?.reason == fault.reason, "\(error?.message ?? "accepted")")
    #expect(throws: BundleError.self) { try BundleFixtures.bundle(contents) }
  }
}
