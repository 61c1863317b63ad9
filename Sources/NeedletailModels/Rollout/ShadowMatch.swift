internal import NeedletailCore
public import NeedletailEngine

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

  public init(_ answering: CompiledModel, shadow: CompiledModel) throws(ShadowMismatch) {
    let (element, its) = (answering.plan.input.element, shadow.plan.input.element)
    guard element == its, let elementBytes = element.bytes else {
      throw ShadowMismatch("bound rows: expected \(element), found \(its)")
    }
    try self.init(
      answering.definition.schema.features, shadow: shadow.definition.schema.features, elementBytes: elementBytes)
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
  }

  /// Whether the features are the same in the same order.
  var isIdentity: Bool { places.isEmpty }

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
