public import NeedletailCore
internal import Synchronization

/// What is live at one moment: an immutable snapshot that requests look models up in.
///
/// Names are found by their bytes as they came over the wire, in an open-addressing table: no `String`
/// is made on the good path.
///
/// `@unchecked Sendable`: immutable; the unmanaged references are kept alive by `entries`.
public final class ModelTable: @unchecked Sendable {
  /// One model that the store knows.
  public struct Entry: Sendable {
    public let model: ModelID
    /// Versions a request may reach, newest first.
    public let live: [LiveModel]
    /// Index into `live` of the one that answers a request without a selector; nil if none is live.
    public let serving: Int?
    /// A version is on its way: say "try again" rather than "no such thing".
    public let isLoading: Bool
    public let routing: ModelRouting

    /// - Precondition: `live` holds versions of `model` only, newest first; shares sum up.
    public init(
      model: ModelID, live: [LiveModel], serving: ModelVersion?, isLoading: Bool = false,
      routing: ModelRouting = ModelRouting()
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
      self.isLoading = isLoading
    }

    public var servingModel: LiveModel? { serving.map { live[$0] } }

    /// The version that gets copies of what others answer, while it is live.
    public var shadowModel: LiveModel? { routing.shadow.flatMap { shadow in live.first { $0.version == shadow } } }
  }

  /// By name.
  public let entries: [Entry]
  /// Unlike any other table's of this process, above that of every table made before. 0 is none.
  public let generation: UInt64
  private let index: NameIndex
  // The same once more for the data path, without anything that is reference-counted.
  private let spans: [Span]
  private let versions: [Version]
  private let arms: [Arm]
  private let labels: [Label]
  private let labelBytes: [UInt8]

  /// Where what belongs to one entry stands in `versions`, `arms` and `labels`.
  private struct Span {
    var start: Int
    var count: Int
    /// −1: none.
    var serving: Int
    var arms: Range<Int>
    var labels: Range<Int>
    var salt: UInt64
  }

  /// Answers the points below `end` that no arm before it does.
  private struct Arm {
    var end: Int
    var slot: Int
  }

  private struct Label {
    var bytes: Range<Int>
    /// −1: no version answers it now.
    var slot: Int
  }

  private struct Version {
    var number: UInt64
    var model: Unmanaged<LiveModel>
  }

  private static let generations = Atomic<UInt64>(0)

  public static let empty = ModelTable([])

  /// - Precondition: every model stands once.
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
    self.spans = spans
    self.versions = versions
    self.arms = arms
    self.labels = labels
    self.labelBytes = labelBytes
  }

  /// The version that a call asks for. Retains it: for the control plane and for tests; a data path
  /// uses ``borrowedModel(named:selector:)``.
  ///
  /// - Throws: `.notFound`, or `.unavailable` while the first version of the model is being loaded.
  public func model(named name: UnsafeRawBufferPointer, selector: ModelSelector) throws(ServingError) -> LiveModel {
    try borrowedModel(named: name, selector: selector).takeUnretainedValue()
  }

  /// The same without touching a reference count: valid as long as this table, so within one lease.
  ///
  /// - Parameters:
  ///   - routingKey: requests with the same key see the same version of a split; empty: `draw` decides.
  ///   - draw: any number, another one for each call.
  /// - Complexity: O(bytes of the name and the key), plus the model's versions, shares or labels.
  public func borrowedModel(
    named name: UnsafeRawBufferPointer, selector: ModelSelector,
    routingKey: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0), draw: UInt64 = 0
  ) throws(ServingError) -> Unmanaged<LiveModel> {
    guard let position = index.position(of: name) else { throw unknownModel(name) }
    let span = spans[position]
    switch selector {
    case .serving:
      guard span.serving >= 0 else { throw noneLive(entries[position]) }
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

  /// For callers that have a name as text.
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

  /// The version that gets copies of what `model` answers, if another does.
  public func shadow(of model: LiveModel) -> LiveModel? {
    guard let shadow = entries.first(where: { $0.model == model.model })?.shadowModel, shadow !== model else {
      return nil
    }
    return shadow
  }

  private func equals(_ label: UnsafeRawBufferPointer, _ bytes: Range<Int>) -> Bool {
    guard label.count == bytes.count else { return false }
    for offset in 0..<label.count where labelBytes[bytes.lowerBound + offset] != label[offset] { return false }
    return true
  }

  private func unknownModel(_ name: UnsafeRawBufferPointer) -> ServingError {
    guard !name.isEmpty else { return .invalidArgument("model: expected a name, found none") }
    // Foreign bytes may be 64 MiB of nonsense: no more of them than a name can have is looked at.
    let text = String(decoding: name.prefix(Limits.modelNameBytesMax), as: UTF8.self)
    let nearest = Suggestion.nearest(to: text, among: entries.lazy.map(\.model.name))
    return ServingError(.notFound, "model \(text.quotedForMessage): not found", suggestedModel: nearest)
  }

  private func notLive(_ number: UInt64, in entry: Entry) -> ServingError {
    let name = entry.model.name.quotedForMessage
    switch entry.live.count {
    case 0:
      return entry.isLoading
        ? .unavailable("model \(name): version \(number) not live, the model is being loaded")
        : .notFound("model \(name): version \(number) not live, and no other is")
    case 1: return .notFound("model \(name): version \(number) not live, live is \(entry.live[0].version)")
    default:
      let live = entry.live.map(\.version.description).joined(separator: ", ")
      return .notFound("model \(name): version \(number) not live, live are \(live)")
    }
  }

  private func notDefined(_ label: UnsafeRawBufferPointer, in entry: Entry) -> ServingError {
    let text = String(decoding: label.prefix(Limits.modelNameBytesMax), as: UTF8.self)
    let known = entry.routing.labels.lazy.map(\.name)
    return .notFound(
      "model \(entry.model.name.quotedForMessage): label \(text.quotedForMessage) not defined\(Suggestion.clause(for: text, among: known))"
    )
  }

  private func labelNotLive(_ label: UnsafeRawBufferPointer, in entry: Entry) -> ServingError {
    let text = String(decoding: label, as: UTF8.self)
    return .unavailable(
      "model \(entry.model.name.quotedForMessage): label \(text.quotedForMessage) names a version that is not live")
  }

  private func noneLive(_ entry: Entry) -> ServingError {
    let name = entry.model.name.quotedForMessage
    return entry.isLoading
      ? .unavailable("model \(name): no version is live yet, one is being loaded")
      : .notFound("model \(name): no version is live")
  }
}
