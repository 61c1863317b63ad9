internal import NeedletailBundle
internal import NeedletailCapture
public import NeedletailCore
public import NeedletailEngine
internal import NeedletailReplay

/// How much the answers of a new version may differ from those of the one that serves, on captured calls.
public struct ReplayCondition: Sendable {
  /// Directory of captures, or one segment.
  public let capture: String
  /// Share of calls that may differ, from 0 to 1.
  public let shareMax: Double
  /// Largest difference of two numbers that counts as none; 0: every bit counts.
  public let tolerance: Double

  /// - Throws: `TrainingError` of kind `output` for a number out of its range, and where there is no capture.
  public init(capture: String, shareMax: Double, tolerance: Double) throws(TrainingError) {
    guard (0...1).contains(shareMax) else {
      throw .output("--replay-allow: expected a share from 0 to 1, found \(shareMax)")
    }
    guard tolerance >= 0, tolerance.isFinite else {
      throw .output("--replay-tolerance: expected a number from 0, found \(tolerance)")
    }
    self.capture = capture
    self.shareMax = shareMax
    self.tolerance = tolerance
    do throws(CaptureError) {
      _ = try CaptureQuery(capture: capture, notice: { _ in }).files()
    } catch {
      throw .output("--replay: \(error.message)")
    }
  }
}

/// Asks a new version captured calls before it is published, and compares it with the version that serves. Where nothing
/// serves yet, with the captured answers.
public struct ReplayGate {
  private let condition: ReplayCondition
  private let model: ModelID
  private let serving: ServingVersion?

  /// Calls that are in memory at a time.
  private static let batchCalls = 256

  /// - Parameter store: where the version that serves comes from.
  /// - Throws: `TrainingError` of kind `output` where it cannot be read.
  public init(_ condition: ReplayCondition, of model: ModelID, store: String) throws(TrainingError) {
    self.condition = condition
    self.model = model
    serving = try ServingVersion(of: model, store: store)
  }

  /// Asks all calls that were captured of the model, whichever version answered them.
  ///
  /// - Parameters:
  ///   - candidate: the model that is to be published.
  ///   - notice: hears of parts of the capture that cannot be read.
  /// - Throws: `TrainingError` of kind `output` where no call can be asked again.
  public func judge(
    _ candidate: ModelDefinition, notice: @escaping (String) -> Void
  ) throws(TrainingError) -> ReplayVerdict {
    let asked: ReplayedModel
    let other: ReplayedModel?
    do throws(PlanError) {
      asked = try ReplayedModel(CompiledModel(candidate))
      other = try serving.map { (serving) throws(PlanError) in try ReplayedModel(serving.compiled) }
    } catch {
      throw TrainingError(error)
    }
    let against = serving.map { "version \($0.version), which serves" } ?? "the captured answers"
    var report = ReplayReport(
      model: "the new version", against: against, tolerance: condition.tolerance, showMax: 1)
    let reader = CaptureBatches(
      CaptureQuery(capture: condition.capture, model: model.name, notice: notice), size: Self.batchCalls)
    do {
      while let calls = try reader.next() {
        for call in calls where !report.leavesOut(call) {
          let expected = other.map { $0.answer(call) } ?? ReplayAnswer(call)
          report.add(ReplayPair(call: call, asked: asked.answer(call), expected: expected))
        }
      }
    } catch {
      throw .output("--replay: \(error)")
    }
    report.isWhole = reader.isWhole
    guard report.compared > 0 else {
      throw .output(
        "--replay: expected captured calls of \(model) that can be asked again in \(condition.capture), found none")
    }
    return ReplayVerdict(condition: condition, report: report)
  }
}

/// What asking captured calls again says of a new version.
public struct ReplayVerdict {
  let condition: ReplayCondition
  let report: ReplayReport

  public var isAllowed: Bool { report.allows(condition.shareMax) }

  /// What was compared, for people.
  public var sentence: String {
    let share = Figures.fixed(100 * Double(report.different) / Double(report.compared), 2)
    var text =
      "\(Figures.count(report.different)) of \(Figures.count(report.compared)) captured calls (\(share) %) answered "
      + "otherwise than by \(report.against)"
    if report.maxDifference > 0 { text += ", numbers by \(Figures.short(report.maxDifference)) at most" }
    if report.classChanges > 0 { text += ", the class of \(Figures.count(report.classChanges)) rows" }
    if report.redacted > 0 { text += "; \(Figures.count(report.redacted)) left out, whose features were redacted" }
    if !report.isWhole { text += "; parts of the capture cannot be read" }
    return text
  }

  public var document: Document {
    .section([
      .init("capture", .text(condition.capture)), .init("against", .text(report.against)),
      .init("allow", .number(condition.shareMax)), .init("tolerance", .number(condition.tolerance)),
      .init("compared", .integer(report.compared)), .init("different", .integer(report.different)),
      .init("class_changes", .integer(report.classChanges)), .init("max_difference", .number(report.maxDifference)),
      .init("redacted", .integer(report.redacted)), .init("whole", .flag(report.isWhole)),
      .init("allowed", .flag(isAllowed)),
    ])
  }

  /// - Throws: `TrainingError` of kind `refused` where the new version differs more than it may.
  public func check() throws(TrainingError) {
    guard !isAllowed else { return }
    var text = "not published: expected at most \(Figures.short(100 * condition.shareMax)) % of the calls to differ, "
    text += "found \(sentence)"
    if let first = report.first.first {
      text +=
        "; the first one is of \(first.time), id \(first.id): \(first.place): expected \(first.expected), found \(first.found)"
    }
    throw TrainingError(.refused, text)
  }
}
