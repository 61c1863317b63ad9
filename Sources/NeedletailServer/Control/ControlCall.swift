internal import NIOCore
internal import NeedletailCore
internal import NeedletailWire

/// A version as a call names it. The name is a copy: the call's bytes are gone before it is answered.
struct ModelReference: Sendable {
  enum Selector: Sendable {
    case serving
    case version(UInt64)
    case label(String)
  }

  let model: String
  let selector: Selector

  init(model: String, selector: Selector) {
    self.model = model
    self.selector = selector
  }

  init(_ view: DescribeView) {
    model = Self.text(view.model)
    selector =
      switch view.selector {
      case .serving: .serving
      case .version(let number): .version(number)
      case .label(let label): .label(Self.text(label))
      }
  }

  /// Names and labels are no longer than a model name, so that what is cut off cannot make one of them fit.
  static func text(_ bytes: UnsafeRawBufferPointer) -> String {
    String(decoding: bytes.prefix(Limits.modelNameBytesMax + 1), as: UTF8.self)
  }
}

/// A call other than a prediction.
enum ControlCall: Sendable {
  case health
  case metrics
  case listModels
  case describeModel(ModelReference)
  case events(after: UInt64, limit: UInt32)
  /// - Parameter undo: the step to take back; nil: only show.
  case rollout(String, undo: RolloutUndo?)
  case serverInfo
  case feedback(FeedbackOrder)

  /// Whether the call changes what serves: then somebody will want to know who made it.
  var changesSomething: Bool {
    if case .rollout(_, undo: .some) = self { true } else { false }
  }
}

/// The answer to a control call.
enum ControlAnswer: Sendable {
  case health(HealthReport)
  case metrics(String)
  case models(ModelListReport)
  case description(ModelDescription)
  case events(EventListReport)
  case rollout(RolloutReport)
  case serverInfo(ServerInfoReport)
  case feedback(FeedbackReport)
  case error(ServingError)

  /// The answer without the models that the caller may not know of.
  /// - Parameter models: names that the caller may see; nil: all.
  func showing(_ models: [NamePattern]?) -> ControlAnswer {
    guard let models else { return self }
    func isVisible(_ report: ModelStatusReport) -> Bool { models.contains { $0.matches(report.model) } }
    switch self {
    case .health(var report):
      report.models.removeAll { !isVisible($0) }
      return .health(report)
    case .models(var report):
      report.models.removeAll { !isVisible($0) }
      // Places in the store name models too.
      report.problems = []
      return .models(report)
    case .events(let report): return .events(report.showing(models))
    case .error(let error): return .error(error.showing(models))
    case .metrics, .description, .rollout, .serverInfo, .feedback: return self
    }
  }

  func append(id: UInt64, to buffer: inout ByteBuffer) {
    switch self {
    case .health(let report): ResponseEncoder.appendHealth(id: id, report, to: &buffer)
    case .metrics(let text): ResponseEncoder.appendMetrics(id: id, text, to: &buffer)
    case .models(let report): ResponseEncoder.appendModels(id: id, report, to: &buffer)
    case .description(let description): ResponseEncoder.appendDescription(id: id, description, to: &buffer)
    case .events(let report): ResponseEncoder.appendEvents(id: id, report, to: &buffer)
    case .rollout(let report): ResponseEncoder.appendRollout(id: id, report, to: &buffer)
    case .serverInfo(let report): ResponseEncoder.appendServerInfo(id: id, report, to: &buffer)
    case .feedback(let report): ResponseEncoder.appendFeedback(id: id, report, to: &buffer)
    case .error(let error): ResponseEncoder.appendError(id: id, error, to: &buffer)
    }
  }
}
