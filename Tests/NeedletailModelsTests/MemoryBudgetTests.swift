import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailModels
import NeedletailTestSupport
import Testing

@Suite("Memory budget")
struct MemoryBudgetTests {
  private let files: TemporaryStore

  init() throws {
    files = try TemporaryStore()
    try write("proc/self/statm", "9999 100 5 1 0 1 0")
    try write("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    4000000 kB\n")
  }

  private func write(_ place: String, _ text: String) throws {
    try files.write(Array(text.utf8), to: place)
  }

  private func room(max: UInt64? = nil) -> UInt64? {
    MemoryBudget(bytesMax: max, proc: files.file("proc"), controlGroups: files.file("cgroup")).room()?.bytes
  }

  @Test func withoutALimitTheBudgetIsTheMachinesMemory() { #expect(room() == 4_000_000 * 1024) }

  @Test func anOperatorsLimitIncludesResidentMemory() {
    // 100 pages of 4 KiB.
    #expect(room(max: 1_000_000) == 1_000_000 - 409_600)
    #expect(room(max: 400_000) == 0)
  }

  @Test func theTightestControlGroupCounts() throws {
    try write("proc/self/cgroup", "0::/pod/container\n")
    try write("cgroup/pod/container/memory.max", "max\n")
    try write("cgroup/pod/container/memory.current", "500\n")
    try write("cgroup/pod/memory.max", "2000000\n")
    try write("cgroup/pod/memory.current", "1500000\n")
    try write("cgroup/pod/memory.stat", "anon 7\ninactive_file 100000\n")
    #expect(room() == 600_000, "the page cache goes when memory is asked for")
  }

  @Test func controlGroupsOfVersionOneAreReadToo() throws {
    try write("proc/self/cgroup", "4:cpu,memory:/x\n2:cpuset:/\n")
    try write("cgroup/memory/x/memory.limit_in_bytes", "1000000\n")
    try write("cgroup/memory/x/memory.usage_in_bytes", "300000\n")
    #expect(room() == 700_000)
  }

  @Test func insideAContainerTheRootGroupIsRead() throws {
    try write("proc/self/cgroup", "0::/kubepods/of/the/outside\n")
    try write("cgroup/memory.max", "1000000\n")
    try write("cgroup/memory.current", "900000\n")
    #expect(room() == 100_000)
  }

  @Test func aSystemWithoutMemoryIsNoFaultOfTheBundle() {
    let ofPlan = Rejection(PlanError("scratch: expected memory for 9 bytes, found none", isMemoryShort: true))
    #expect(ofPlan.isTransient && ofPlan.label == "memory")
    let ofCheck = Rejection(
      GoldenFailure(sample: "first", output: nil, expected: "an answer", found: "no memory", isMemoryShort: true))
    #expect(ofCheck.isTransient && ofCheck.label == "memory")
    let ofGraph = Rejection(PlanError(node: "hidden", "expected 2 inputs, found 1"))
    #expect(!ofGraph.isTransient && ofGraph.label == "plan")
  }

  @Test func hostileNumbersDoNotTrap() throws {
    try write("proc/self/cgroup", "0::/\nnonsense\n::\n")
    try write("cgroup/memory.max", "-5\n")
    try write("cgroup/memory.current", "99999999999999999999999999\n")
    try write("proc/meminfo", "MemAvailable: 18446744073709551615 kB\n")
    #expect(room() != nil)
  }

  @Test func rejectionsNameNeedBudgetAndBound() {
    let budget = MemoryBudget(bytesMax: 1_000_000, proc: files.file("proc"), controlGroups: files.file("cgroup"))
    #expect(budget.refusal(of: 590_400, for: "a file") == nil)
    let refusal = budget.refusal(of: 590_401, for: "a file")
    #expect(refusal?.label == "memory" && refusal?.isTransient == true)
    #expect(
      refusal?.message
        == "memory: expected room for 590401 bytes for a file, found 590400 (memory_max 1000000, of which 409600 are used)"
    )
  }

  @Test func layersThatShareATensorAreEachCounted() {
    var graph = BundleFixtures.classifier().graph
    let once = LoadCost.packing(graph)
    graph.nodes += graph.nodes
    #expect(LoadCost.packing(graph) == 2 * once)
    #expect(once > 0)
  }

  @Test func tablesOfOperationsWithoutAProductAreCounted() {
    let columns = 1000
    let bounds = [Float](repeating: 1, count: columns)
    func cost(_ operation: any GraphOperation) -> UInt64 {
      LoadCost.packing(
        ModelGraph(
          task: .regression, values: [.init(name: "row", columns: columns), .init(name: "y", columns: columns)],
          nodes: [Node(name: "node", input: 0, output: 1, operation: operation)],
          outputs: [.init(name: "y", value: 1, kind: .number)], tensors: []))
    }
    #expect(cost(Clip(low: bounds, high: bounds)) >= 8 * UInt64(columns))
    #expect(cost(SelectColumns(columns: Array(0..<columns))) >= 4 * UInt64(columns))
    #expect(cost(Clip(high: [1])) < 64)
  }

  @Test func layoutsOfTreesThatAreTriedAreCountedBesideThoseThatStay() {
    let graph = BundleFixtures.trees().definition.graph
    let node = graph.nodes.indices.first { graph.nodes[$0].operation is TreeEnsemble } ?? 0
    let (operation, context) = (graph.nodes[node].operation, graph.context(of: node))
    let (stays, tried) = (operation.packedBytes(context), operation.loweringBytes(context))
    // Rows for the trials alone take 16 MiB.
    #expect(stays > 0 && tried > 16 << 20)
    #expect(LoadCost.packing(graph) >= UInt64(stays + tried))
  }

  @Test func decodingCountsWhatASmallVarintBecomes() throws {
    // One byte on the wire, four in the unpacked message, eight in the array of the operation.
    var definition = BundleFixtures.line(weight: 3)
    definition.graph.values[1].columns = 50_000
    definition.graph.nodes[0].operation = SelectColumns(columns: Array(repeating: 0, count: 50_000))
    definition.graph.tensors = []
    let bundle = try VerifiedBundle(
      BundleFile(bytes: BundleFixtures.bundle(BundleContents(definition: definition))), trust: BundleFixtures.trust,
      expecting: nil, nowMilliseconds: 1_800_000_000_000)
    #expect(LoadCost.decoding(bundle.manifest) >= 13 * 50_000)
  }

  @Test func aVeryLongReasonIsCut() {
    let short = String(repeating: "é", count: 1000)
    #expect(Rejection(label: "plan", message: short).message == short)
    let cut = Rejection(label: "plan", message: String(repeating: "é", count: 1_000_000)).message
    #expect(cut.utf8.count <= Limits.rejectionMessageBytesMax + 3)
    #expect(cut.hasPrefix(short) && cut.hasSuffix("é…"))
  }
}
