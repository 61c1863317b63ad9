public import NeedletailCore
public import NeedletailEngine

/// How requests of one model find their version: the rollout policy, applied to the versions that are live now.
public struct ModelRouting: Sendable, Equatable {
  /// A name that requests may use in place of a number.
  public struct Label: Sendable, Equatable {
    public var name: String
    /// The version that answers; nil while none does.
    public var version: ModelVersion?

    public init(_ name: String, _ version: ModelVersion?) {
      self.name = name
      self.version = version
    }
  }

  /// The part of the requests without a selector that one version answers.
  public struct Share: Sendable, Equatable {
    public var version: ModelVersion
    /// Its share, in units of 1 / ``RoutingPoint/count``.
    public var points: Int

    public init(_ version: ModelVersion, points: Int) {
      self.version = version
      self.points = points
    }
  }

  /// Labels by name.
  public var labels: [Label]
  /// Two or more that sum up to ``RoutingPoint/count``; empty where one version answers all. A share that
  /// grows must keep its keys: the order is part of the meaning, the stable version comes last.
  public var shares: [Share]
  /// The version that gets copies of what others answer.
  public var shadow: ModelVersion?

  public init(labels: [Label] = [], shares: [Share] = [], shadow: ModelVersion? = nil) {
    self.labels = labels
    self.shares = shares
    self.shadow = shadow
  }

  /// The part of requests without a selector that a version answers, 0 to 1.
  /// - Parameter serving: the version that answers them all where there are no shares.
  public func share(of version: ModelVersion, serving: ModelVersion?) -> Double {
    guard !shares.isEmpty else { return version == serving ? 1 : 0 }
    return shares.reduce(0) { sum, share in
      share.version == version ? sum + Double(share.points) / Double(RoutingPoint.count) : sum
    }
  }
}

/// Where on the line of shares a request falls: by its routing key, so that a caller keeps its version on every server and
/// across restarts, or by chance if it has none.
///
/// FNV-1a over the key with the model as salt, so that the same callers are not the first in line of
/// every model, then the finaliser of SplitMix64, whose high bits depend on all others.
/// Source: G. Steele, D. Lea, C. Flood, Fast splittable pseudorandom number generators, 2014.
public enum RoutingPoint {
  /// Shares are counted in hundredths of a percent.
  public static let count = 10_000

  /// - Parameter salt: the model's, from ``salt(of:)``.
  /// - Complexity: O(bytes of the key).
  public static func of(key: UnsafeRawBufferPointer, salt: UInt64) -> Int {
    point(SplitMix64.mix(fnv(key, from: fnvOffset ^ salt)))
  }

  /// - Parameter draw: any number; neighbours give points that have nothing to do with each other.
  public static func of(draw: UInt64) -> Int { point(SplitMix64.mix(draw &* 0x9E37_79B9_7F4A_7C15)) }

  /// The salt of a model: the same on every server.
  static func salt(of model: ModelID) -> UInt64 {
    SplitMix64.mix(fnv(model.name.utf8, from: fnvOffset))
  }

  private static let fnvOffset: UInt64 = 0xCBF2_9CE4_8422_2325

  /// The hash FNV-1a of bytes, begun anywhere.
  private static func fnv(_ bytes: some Sequence<UInt8>, from start: UInt64) -> UInt64 {
    bytes.reduce(start) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
  }

  /// Lemire's multiplication in place of a division.
  private static func point(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: ((hash >> 32) &* UInt64(count)) >> 32) }
}

/// Reason why one version cannot shadow another, in one sentence.
public struct ShadowMismatch: Error, Equatable, Sendable {
  public let reason: String

  public init(_ reason: String) { self.reason = reason }
}

/// Turns rows bound for a version that answers into rows of the version that shadows it, by the names of their features.
/// The shadow may take fewer of them, in another order.
public struct ShadowMatch: Sendable, Equatable {
  /// Column in a row of the answering version for each feature of the shadow; empty if the rows are the same.
  private let places: [Int]
  private let answeringColumns: Int
  private let shadowColumns: Int
  /// Bytes of a bound number: the same for both.
  private let elementBytes: Int
  /// Place among the texts of a row of the answering version for each text of the shadow, and how many those have.
  private let textPlaces: [Int]
  private let answeringTexts: Int

  public init(_ answering: CompiledModel, shadow: CompiledModel) throws(ShadowMismatch) {
    let (element, its) = (answering.plan.input.element, shadow.plan.input.element)
    guard element == its else { throw ShadowMismatch("bound rows: expected \(element), found \(its)") }
    try self.init(
      answering.definition.schema.features, shadow: shadow.definition.schema.features, elementBytes: element.bytes)
    let outputs = answering.plan.outputs
    guard shadow.plan.outputs.contains(where: { its in outputs.contains { $0.isComparable(with: its) } }) else {
      let names = shadow.plan.outputs.map(\.name.quotedForMessage).joined(separator: ", ")
      throw ShadowMismatch("outputs: expected one in common, found only \(names)")
    }
  }

  /// - Throws: the first feature of the shadow that a bound row of the other does not have.
  init(
    _ answering: [Feature], shadow: [Feature], elementBytes: Int = MemoryLayout<Float>.size
  ) throws(ShadowMismatch) {
    var places: [Int] = []
    for feature in shadow {
      let name = "feature \(feature.name.quotedForMessage)"
      guard let place = answering.firstIndex(where: { $0.name == feature.name }) else {
        throw ShadowMismatch("\(name): expected in the calls answered, found none")
      }
      let its = answering[place]
      guard its.kind == feature.kind else {
        throw ShadowMismatch("\(name): expected the same type and categories, found others")
      }
      // A bound row hides what was missing: the shadow would see a value that its own callers could not send.
      guard its.missing == .refuse || feature.missing == .impute else {
        throw ShadowMismatch("\(name): expected never to be missing, found a version that answers without it")
      }
      places.append(place)
    }
    answeringColumns = answering.count
    shadowColumns = shadow.count
    self.elementBytes = elementBytes
    self.places = places == Array(answering.indices) ? [] : places
    let texts = answering.indices.filter { answering[$0].kind == .text }
    answeringTexts = texts.count
    textPlaces = places.compactMap { texts.firstIndex(of: $0) }
  }

  /// Whether the features are the same in the same order.
  var isIdentity: Bool { places.isEmpty }

  /// Binds rows with the places of their texts; the bytes stay where they are.
  /// - Complexity: O(rows × features of the shadow).
  public func bind(_ bound: RowMemory, rows: Int, into shadow: RowMemory) {
    bind(bound.items, rows: rows, into: shadow.items)
    let placeBytes = ValueType.Element.text.bytes
    for row in 0..<rows {
      for (index, place) in textPlaces.enumerated() {
        (shadow.texts + (row * textPlaces.count + index) * placeBytes)
          .copyMemory(from: bound.texts + (row * answeringTexts + place) * placeBytes, byteCount: placeBytes)
      }
    }
  }

  /// - Complexity: O(rows × features of the shadow).
  public func bind(_ rows0: UnsafeRawPointer, rows: Int, into shadow0: UnsafeMutableRawPointer) {
    guard !isIdentity else {
      shadow0.copyMemory(from: rows0, byteCount: rows * shadowColumns * elementBytes)
      return
    }
    for row in 0..<rows {
      let (from, to) = (rows0 + row * answeringColumns * elementBytes, shadow0 + row * shadowColumns * elementBytes)
      for column in places.indices {
        (to + column * elementBytes).copyMemory(from: from + places[column] * elementBytes, byteCount: elementBytes)
      }
    }
  }
}

extension PlanOutput {
  /// Whether answers of two versions can be compared: the same numbers, or the class, as its index or its label.
  public func isComparable(with other: PlanOutput) -> Bool {
    guard name == other.name, (kind == .number) == (other.kind == .number) else { return false }
    return kind != .number || columns == other.columns
  }
}

extension ModelTable.Entry {
  /// Answering versions whose rows the shadow is not given, and why; empty if it is given the rows of all.
  public var shadowObstacle: String {
    guard let shadow = shadowModel else { return "" }
    var answering = Set(routing.shares.map(\.version) + routing.labels.compactMap(\.version))
    if let servingModel { answering.insert(servingModel.version) }
    let obstacles = live.compactMap { model -> String? in
      guard model !== shadow, answering.contains(model.version) else { return nil }
      do throws(ShadowMismatch) {
        _ = try ShadowMatch(model.compiled, shadow: shadow.compiled)
        return nil
      } catch {
        return "given no rows of version \(model.version): \(error.reason)"
      }
    }
    return obstacles.joined(separator: "; ")
  }
}
