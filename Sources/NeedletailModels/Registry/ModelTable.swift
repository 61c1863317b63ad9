public import NeedletailCore
internal import Synchronization

/// All live versions at one moment: an immutable snapshot that requests look models up in.
///
/// Names are found by their bytes as they came over the wire, in an open-addressing table: no `String` is made for a name
/// that is found.
///
/// `@unchecked Sendable`: immutable; the unmanaged references are kept alive by `entries`.
public final class ModelTable: @unchecked Sendable {
  /// One model of the store.
  public struct Entry: Sendable {
    public let model: ModelID
    /// Versions a request may reach, newest first.
    public let live: [LiveModel]
    /// Index into `live` of the version that answers a request without a selector; nil if none is live.
    public let serving: Int?
    /// Versions that are on their way: a request for them is told to try again rather than that there are none.
    public let awaited: [ModelVersion]
    /// True if the rollout file says that nothing is to serve: a client need not try again.
    public let isRetired: Bool
    public let routing: ModelRouting

    /// - Precondition: `live` holds versions of `model` only, newest first; shares sum up.
    public init(
      model: ModelID, live: [LiveModel], serving: ModelVersion?, awaited: [ModelVersion] = [],
      isRetired: Bool = false, routing: ModelRouting = ModelRouting()
    ) {
      precondition(live.allSatisfy { $0.model == model }, "versions of another model under \(model)")
      precondition(
        zip(live, live.dropFirst()).allSatisfy { $0.version > $1.version }, "versions of \(model) must descend")
      precondition(
        routing.shares.isEmpty || routing.shares.reduce(0) { $0 + $1.points } == RoutingPoint.count,
        "shares of \(model) must sum up to \(RoutingPoint.count)")
      self.routing = routing
      self.model = model
      self.live = live
      self.serving = serving.flatMap { version in live.firstIndex { $0.version == version } }
      self.awaited = awaited
      self.isRetired = isRetired
    }

    /// The answer to a call while no version is live. A model that the store holds is not "not found": a client that
    /// never tries again would miss the version that is being loaded, or that replaces a rejected one.
    var noneLive: ServingError {
      let name = model.name.quotedForMessage
      if isRetired { return .notFound("model \(name): retired, it serves no version") }
      return .unavailable(
        awaited.isEmpty
          ? "model \(name): no version is live" : "model \(name): no version is live yet, \(awaited[0]) is being loaded"
      )
    }

    public var servingModel: LiveModel? { serving.map { live[$0] } }

    /// The version that gets copies of what others answer, while it is live.
    public var shadowModel: LiveModel? { routing.shadow.flatMap { shadow in live.first { $0.version == shadow } } }
  }

  /// Models by name.
  public let entries: [Entry]
  /// Number of this table, above those of all tables made before in this process; no table has 0.
  public let generation: UInt64
  private let index: NameIndex
  // The entries in a second form for the data path, which must not touch a reference count.
  private let spans: [Span]
  private let versions: [Version]
  private let arms: [Arm]
  private let labels: [Label]
  private let labelBytes: [UInt8]
  /// By ``LiveModel/slot``: the version if it is in this table, and the version that gets copies of what it answers.
  private let slots: [Slot]

  private struct Slot {
    var model: Unmanaged<LiveModel>?
    var shadow: Unmanaged<LiveModel>?
  }

  /// Ranges of `versions`, `arms` and `labels` that belong to one entry.
  private struct Span {
    var start: Int
    var count: Int
    /// Index into `versions`; −1: none.
    var serving: Int
    var arms: Range<Int>
    var labels: Range<Int>
    var salt: UInt64
  }

  /// A share of a split: it answers the points below `end` that no arm before it answers.
  private struct Arm {
    var end: Int
    var slot: Int
  }

  private struct Label {
    var bytes: Range<Int>
    /// Index into `versions`; −1: no version answers it now.
    var slot: Int
  }

  private struct Version {
    var number: UInt64
    var model: Unmanaged<LiveModel>
  }

  private static let generations = Atomic<UInt64>(0)

  public static let empty = ModelTable([])

  /// - Precondition: no model occurs twice.
  public init(_ entries: [Entry]) {
    self.entries = entries.sorted { $0.model < $1.model }
    generation = Self.generations.add(1, ordering: .relaxed).newValue
    index = NameIndex(self.entries.map(\.model.name))
    var spans: [Span] = []
    var versions: [Version] = []
    var arms: [Arm] = []
    var labels: [Label] = []
    var labelBytes: [UInt8] = []
    for entry in self.entries {
      let start = versions.count
      func slot(_ version: ModelVersion?) -> Int {
        entry.live.firstIndex { $0.version == version }.map { start + $0 } ?? -1
      }
      let (firstArm, firstLabel) = (arms.count, labels.count)
      var end = 0
      for share in entry.routing.shares {
        end += share.points
        let slot = slot(share.version)
        precondition(slot >= 0, "share of \(entry.model): version \(share.version) is not live")
        arms.append(Arm(end: end, slot: slot))
      }
      for label in entry.routing.labels {
        let first = labelBytes.count
        labelBytes += label.name.utf8
        labels.append(Label(bytes: first..<labelBytes.count, slot: slot(label.version)))
      }
      spans.append(
        Span(
          start: start, count: entry.live.count, serving: entry.serving.map { start + $0 } ?? -1,
          arms: firstArm..<arms.count, labels: firstLabel..<labels.count, salt: RoutingPoint.salt(of: entry.model)))
      versions += entry.live.map { Version(number: $0.version.number, model: .passUnretained($0)) }
    }
    var slots = [Slot](repeating: Slot(), count: 1 + (versions.map { $0.model.takeUnretainedValue().slot }.max() ?? -1))
    for entry in self.entries {
      let shadow = entry.shadowModel
      for model in entry.live {
        slots[model.slot] = Slot(
          model: .passUnretained(model), shadow: shadow === model ? nil : shadow.map { .passUnretained($0) })
      }
    }
    self.slots = slots
    self.spans = spans
    self.versions = versions
    self.arms = arms
    self.labels = labels
    self.labelBytes = labelBytes
  }

  /// The version that a selector names, and without one the version that serves, whatever the arms of a split: what a
  /// caller without a routing key is told of a model must not depend on chance. Retains it: for the control plane and
  /// for tests; a data path uses ``borrowedModel(named:selector:routingKey:draw:)``.
  ///
  /// - Throws: as ``borrowedModel(named:selector:routingKey:draw:)``.
  public func model(named name: UnsafeRawBufferPointer, selector: ModelSelector) throws(ServingError) -> LiveModel {
    if case .serving = selector, let position = index.position(of: name), spans[position].serving >= 0 {
      return versions[spans[position].serving].model.takeUnretainedValue()
    }
    return try borrowedModel(named: name, selector: selector, draw: 0).takeUnretainedValue()
  }

  /// The version that a call asks for, without touching a reference count: valid as long as this table, so within one
  /// lease.
  ///
  /// - Parameters:
  ///   - routingKey: key of the caller: requests with the same key get the same version of a split. If it is empty, `draw`
  ///     decides.
  ///   - draw: any number, another one for each call.
  /// - Throws: `.notFound` if the store holds no such model, if the model is retired, or if it answers, but not by this
  ///   version or label; `.unavailable` if the model is in the store and no version of it is live, or if the version
  ///   or the label's version is not live yet.
  /// - Complexity: O(bytes of the name and the key), plus the model's versions, shares or labels.
  public func borrowedModel(
    named name: UnsafeRawBufferPointer, selector: ModelSelector,
    routingKey: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0), draw: UInt64
  ) throws(ServingError) -> Unmanaged<LiveModel> {
    guard let position = index.position(of: name) else { throw unknownModel(name) }
    let span = spans[position]
    switch selector {
    case .serving:
      guard span.serving >= 0 else { throw entries[position].noneLive }
      guard !span.arms.isEmpty else { return versions[span.serving].model }
      let point =
        routingKey.isEmpty ? RoutingPoint.of(draw: draw) : RoutingPoint.of(key: routingKey, salt: span.salt)
      var arm = span.arms.lowerBound
      while arms[arm].end <= point { arm += 1 }
      return versions[arms[arm].slot].model
    case .version(let number):
      for slot in span.start..<(span.start + span.count) where versions[slot].number == number {
        return versions[slot].model
      }
      throw notLive(number, in: entries[position])
    case .label(let label):
      for index in span.labels where equals(label, labels[index].bytes) {
        guard labels[index].slot >= 0 else { throw labelNotLive(label, in: entries[position]) }
        return versions[labels[index].slot].model
      }
      throw notDefined(label, in: entries[position])
    }
  }

  /// The version that a call asks for, by a name as text.
  ///
  /// - Throws: as ``borrowedModel(named:selector:routingKey:draw:)``.
  public func model(named name: String, selector: ModelSelector = .serving) throws(ServingError) -> LiveModel {
    var name = name
    let found: Result<LiveModel, ServingError> = name.withUTF8 { bytes in
      do throws(ServingError) {
        return .success(try model(named: UnsafeRawBufferPointer(bytes), selector: selector))
      } catch {
        return .failure(error)
      }
    }
    return try found.get()
  }

  /// The version that gets copies of what `model` answers; nil if there is none or it is `model` itself.
  ///
  /// - Complexity: O(1).
  public func shadow(of model: LiveModel) -> LiveModel? {
    isLive(model) ? slots[model.slot].shadow?.takeUnretainedValue() : nil
  }

  /// Whether this version may be asked for.
  ///
  /// - Complexity: O(1).
  public func isLive(_ model: LiveModel) -> Bool {
    model.slot < slots.count && slots[model.slot].model?.toOpaque() == Unmanaged.passUnretained(model).toOpaque()
  }

  private func equals(_ label: UnsafeRawBufferPointer, _ bytes: Range<Int>) -> Bool {
    guard label.count == bytes.count else { return false }
    for offset in 0..<label.count where labelBytes[bytes.lowerBound + offset] != label[offset] { return false }
    return true
  }

  private func unknownModel(_ name: UnsafeRawBufferPointer) -> ServingError {
    guard !name.isEmpty else {
      return .invalidArgument("model: expected a name, found none", ErrorDetail(field: "model"))
    }
    // Foreign bytes may be 64 MiB long: only as many as a name can have are looked at.
    let text = String(decoding: name.prefix(Limits.modelNameBytesMax), as: UTF8.self)
    let nearest = Suggestion.nearest(to: text, among: entries.lazy.map(\.model.name))
    return ServingError(
      .notFound, "model \(text.quotedForMessage): not found", suggestedModel: nearest,
      detail: ErrorDetail(field: "model"))
  }

  private func notLive(_ number: UInt64, in entry: Entry) -> ServingError {
    let name = entry.model.name.quotedForMessage
    let detail = ErrorDetail(field: "version")
    if entry.awaited.contains(where: { $0.number == number }) {
      return .unavailable("model \(name): version \(number) not live yet, it is being loaded", detail)
    }
    switch entry.live.count {
    case 0: return entry.noneLive
    case 1:
      return .notFound("model \(name): version \(number) not live, live is \(entry.live[0].version)", detail)
    default:
      let live = entry.live.map(\.version.description).joined(separator: ", ")
      return .notFound("model \(name): version \(number) not live, live are \(live)", detail)
    }
  }

  private func notDefined(_ label: UnsafeRawBufferPointer, in entry: Entry) -> ServingError {
    guard !entry.live.isEmpty else { return entry.noneLive }
    let text = String(decoding: label.prefix(Limits.modelNameBytesMax), as: UTF8.self)
    let known = entry.routing.labels.lazy.map(\.name)
    return .notFound(
      "model \(entry.model.name.quotedForMessage): label \(text.quotedForMessage) not defined\(Suggestion.clause(for: text, among: known))",
      ErrorDetail(field: "label"))
  }

  private func labelNotLive(_ label: UnsafeRawBufferPointer, in entry: Entry) -> ServingError {
    let text = String(decoding: label, as: UTF8.self)
    return .unavailable(
      "model \(entry.model.name.quotedForMessage): label \(text.quotedForMessage) names a version that is not live",
      ErrorDetail(field: "label"))
  }
}

/// Positions of names, found by their UTF-8 bytes: open addressing with linear probing, at most half
/// full, built once.
///
/// Names come from the operator's store, not from clients, so that a fixed hash suffices: a client cannot choose names
/// that collide.
struct NameIndex: Sendable {
  private struct Slot {
    var hash: UInt64
    var start: Int
    var count: Int
    /// Position of the name; −1: the slot is free.
    var position: Int
  }

  private let slots: [Slot]
  private let bytes: [UInt8]

  /// - Precondition: no name occurs twice.
  init(_ names: [String]) {
    var capacity = 4
    while capacity < names.count * 2 { capacity *= 2 }
    var slots = [Slot](repeating: Slot(hash: 0, start: 0, count: 0, position: -1), count: capacity)
    var bytes: [UInt8] = []
    for (position, name) in names.enumerated() {
      let start = bytes.count
      bytes += name.utf8
      let hash = bytes[start...].withUnsafeBytes { Self.hash($0) }
      var slot = Int(truncatingIfNeeded: hash) & (capacity - 1)
      while slots[slot].position >= 0 {
        precondition(names[slots[slot].position] != name, "\(name) stands twice in the table")
        slot = (slot + 1) & (capacity - 1)
      }
      slots[slot] = Slot(hash: hash, start: start, count: bytes.count - start, position: position)
    }
    self.slots = slots
    self.bytes = bytes
  }

  /// Position of a name; nil if it is unknown.
  ///
  /// - Complexity: O(bytes of the name), without allocation.
  func position(of name: UnsafeRawBufferPointer) -> Int? {
    let hash = Self.hash(name)
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: hash) & mask
    while slots[slot].position >= 0 {
      let candidate = slots[slot]
      if candidate.hash == hash, candidate.count == name.count,
        equals(name, start: candidate.start)
      {
        return candidate.position
      }
      slot = (slot + 1) & mask
    }
    return nil
  }

  private func equals(_ name: UnsafeRawBufferPointer, start: Int) -> Bool {
    for offset in 0..<name.count where bytes[start + offset] != name[offset] { return false }
    return true
  }

  /// FNV-1a, 64 bits, over no more bytes than a name can have plus one, folded so that the low bits
  /// depend on all of them.
  private static func hash(_ name: UnsafeRawBufferPointer) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in name.prefix(129) {
      hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3
    }
    return hash ^ (hash >> 32)
  }
}
