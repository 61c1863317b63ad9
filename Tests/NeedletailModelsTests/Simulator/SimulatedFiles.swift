import NeedletailBundle
import NeedletailCore
import NeedletailModels
import NeedletailTestSupport

/// What stands in a simulated file.
struct SimulatedBundle: Equatable, Sendable {
  enum Fault: String, CaseIterable, Sendable {
    /// Not a bundle at all: the scan sees it.
    case header = "bad_magic"
    case hash = "bad_hash"
    case golden
    case name = "wrong_name"
  }

  var key: VersionKey
  var digest: String
  /// Id of its key; empty for none.
  var signer: String
  var fault: Fault?
}

/// A file somebody drops, writes to, takes away.
struct SimulatedFile: Equatable, Sendable {
  static let bytesTotal: UInt64 = 100

  var bundle: SimulatedBundle
  var inode: UInt64
  var written: UInt64
  /// Moves with everything that is done to the file.
  var changed: Int64

  var isWhole: Bool { written == Self.bytesTotal }

  var fingerprint: StoreFingerprint { StoreFingerprint("\(inode).\(written).\(changed)") }

  var completeness: BundleFile.Completeness {
    if bundle.fault == .header { return .notABundle(BundleError(.badMagic, "magic")) }
    return isWhole ? .complete : .incomplete(found: written, expected: Self.bytesTotal)
  }
}

/// A store's directory, as far as a scan can see it.
struct SimulatedFiles: Sendable {
  static let models = ["a", "b"].map { try! ModelID($0) }
  static let signers = ["", "key-1", "key-2"]
  static let versionMax: UInt64 = 12

  private(set) var files: [VersionKey: SimulatedFile] = [:]
  private(set) var orders: [ModelID: SimulatedOrder] = [:]
  var isReadable = true
  var unreadable: Set<ModelID> = []
  private var ticks: Int64 = 1
  private var made = 0

  subscript(key: VersionKey) -> SimulatedFile? { files[key] }

  func snapshot() -> StoreSnapshot {
    var snapshot = StoreSnapshot()
    snapshot.isReadable = isReadable
    guard isReadable else { return snapshot }
    snapshot.unreadableModels = unreadable
    for (model, order) in orders where !unreadable.contains(model) { snapshot.rollouts[model] = order.finding }
    for (key, file) in files.sorted(by: { $0.key < $1.key }) where !unreadable.contains(key.model) {
      snapshot.bundles.append(
        StoredBundle(
          key: key, place: "/\(key.model)/\(key.version).ntb", fingerprint: file.fingerprint, bytes: file.written,
          completeness: file.completeness))
    }
    return snapshot
  }

  /// One thing that people do to a store.
  mutating func change(_ random: inout SplitMix64) -> String {
    ticks += 1
    let key = anyKey(&random)
    switch random.next() % 12 {
    case 0...3:
      files[key] = SimulatedFile(
        bundle: bundle(for: key, &random), inode: UInt64(ticks), written: SimulatedFile.bytesTotal, changed: ticks)
      return "rename in \(key): \(files[key]!.bundle)"
    case 4, 5:
      // cp writes into the file that is there.
      let inode = files[key]?.inode ?? UInt64(ticks)
      files[key] = SimulatedFile(
        bundle: bundle(for: key, &random), inode: inode, written: random.next() % SimulatedFile.bytesTotal,
        changed: ticks)
      return "copy in \(key): \(files[key]!.written) bytes of \(files[key]!.bundle)"
    case 6, 7:
      guard let file = files.sorted(by: { $0.key < $1.key }).first(where: { !$0.value.isWhole }) else { return "" }
      let more = random.next() % 3 == 0 ? 1 : SimulatedFile.bytesTotal
      files[file.key]?.written = min(SimulatedFile.bytesTotal, file.value.written + more)
      files[file.key]?.changed = ticks
      return "write on \(file.key)"
    case 8:
      files[key] = nil
      return "remove \(key)"
    case 9:
      files[key]?.bundle.fault = .hash
      files[key]?.changed = ticks
      return "spoil \(key)"
    case 10:
      files[key]?.changed = ticks
      return "chmod \(key)"
    default:
      guard random.next() % 4 == 0 else { return "" }
      files = files.filter { $0.key.model != key.model }
      return "remove the directory of \(key.model)"
    }
  }

  /// Somebody writes a rollout file, spoils it or takes it away.
  mutating func changeOrder(_ random: inout SplitMix64) -> String {
    ticks += 1
    let model = Self.models[Int(random.next() % 2)]
    switch random.next() % 6 {
    case 0:
      orders[model] = nil
      return "remove rollout.yaml of \(model)"
    case 1:
      orders[model] = .invalid("line \(ticks)")
      return "spoil rollout.yaml of \(model)"
    default:
      let newest = files.keys.filter { $0.model == model }.map(\.version.number).max() ?? 1
      let rollout = SimulatedRollout(&random, versions: newest + 1)
      // The same text once more is no new order.
      orders[model] = .file(rollout, text: rollout.yaml + (random.next() % 2 == 0 ? "# \(ticks)\n" : ""))
      return "rollout.yaml of \(model): \(rollout.yaml.split(separator: "\n").joined(separator: "; "))"
    }
  }

  /// In the end somebody repairs what cannot be read.
  mutating func healOrders() {
    for (model, order) in orders { if case .invalid = order { orders[model] = nil } }
  }

  mutating func hideOrShow(_ random: inout SplitMix64) -> String {
    let model = Self.models[Int(random.next() % 2)]
    if random.next() % 3 == 0 { isReadable.toggle() } else { unreadable.formSymmetricDifference([model]) }
    return "readable: \(isReadable), not: \(unreadable.map(\.name))"
  }

  mutating func heal() {
    isReadable = true
    unreadable = []
  }

  private func anyKey(_ random: inout SplitMix64) -> VersionKey {
    let model = Self.models[Int(random.next() % 2)]
    let newest = files.keys.filter { $0.model == model }.map(\.version.number).max() ?? 0
    // Mostly people publish upwards.
    let version = random.next() % 3 == 0 ? newest + 1 : random.next() % Self.versionMax + 1
    return VersionKey(model, ModelVersion(version)!)
  }

  private mutating func bundle(for key: VersionKey, _ random: inout SplitMix64) -> SimulatedBundle {
    made += 1
    let faults = SimulatedBundle.Fault.allCases
    return SimulatedBundle(
      key: key, digest: "digest-\(made)", signer: Self.signers[Int(random.next() % 3)],
      fault: random.next() % 3 == 0 ? faults[Int(random.next() % UInt64(faults.count))] : nil)
  }
}

/// What lies beside the bundles of one model.
enum SimulatedOrder: Equatable, Sendable {
  case file(SimulatedRollout, text: String)
  case invalid(String)

  var finding: RolloutFinding {
    switch self {
    case .invalid(let problem): return .invalid(problem)
    case .file(_, let text):
      do { return .file(try RolloutFile(parsing: text)) } catch {
        preconditionFailure("the simulation writes good files: \(error): \(text)")
      }
    }
  }
}

/// A rollout as an operator thinks of it, and writes it down.
struct SimulatedRollout: Equatable, Sendable {
  enum Serve: Equatable, Sendable {
    case absent, latest, nothing
    case versions([UInt64])
  }

  var serve = Serve.absent
  var stable: UInt64?
  var canary: UInt64?
  /// Percent of the requests by version: none, or two.
  var split: [(version: UInt64, percent: Int)] = []
  var shadow: UInt64?
  var isGuarded = false
  var keep: Int?

  init() {}

  init(_ random: inout SplitMix64, versions: UInt64) {
    func any() -> UInt64 { random.next() % versions + 1 }
    isGuarded = random.next() % 2 == 0
    if random.next() % 4 == 0 { keep = Int(random.next() % 3) }
    switch random.next() % 9 {
    case 0:
      serve = .nothing
      return
    case 1, 2: serve = .latest
    case 3, 4: serve = .versions([any()])
    case 5:
      let (first, second) = (any(), any())
      serve = .versions(first == second ? [first] : [first, second])
    default: break
    }
    if random.next() % 2 == 0 { (stable, canary) = (any(), any()) }
    if random.next() % 5 < 2 {
      let (a, b) = (any(), any())
      let percent = [10, 30, 45][Int(random.next() % 3)]
      if a != b { split = [(a, 100 - percent), (b, percent)] }
    }
    if random.next() % 4 == 0 { shadow = any() }
  }

  static func == (a: SimulatedRollout, b: SimulatedRollout) -> Bool { a.yaml == b.yaml }

  var yaml: String {
    var text = ""
    switch serve {
    case .absent: break
    case .latest: text += "serve: latest\n"
    case .nothing: text += "serve: none\n"
    case .versions(let versions): text += "serve: [\(versions.map(String.init).joined(separator: ", "))]\n"
    }
    if let stable, let canary { text += "labels: {stable: \(stable), canary: \(canary)}\n" }
    if !split.isEmpty {
      text += "split: {" + split.map { "\($0.version): \($0.percent)" }.joined(separator: ", ") + "}\n"
    }
    if let shadow { text += "shadow: \(shadow)\n" }
    if isGuarded { text += "guard: {nan_rate: 0}\n" }
    if let keep { text += "keep: \(keep)\n" }
    return text.isEmpty ? "keep: 1\n" : text
  }
}
