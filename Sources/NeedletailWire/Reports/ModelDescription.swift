public import NeedletailCore

/// One input or output of a model.
public struct TensorSpecReport: Sendable, Equatable {
  public var name: String
  /// Element type; nil if the server named one that this client does not know.
  public var type: DataType?
  /// Sizes of the dimensions; 0 stands for the batch dimension.
  public var shape: [UInt64]
  /// The known categories of a categorical feature; empty otherwise.
  public var categories: [String]
  /// True if the feature may be missing (NaN, or an empty string).
  public var optional: Bool
  /// One sentence for people.
  public var summary: String

  public init(
    name: String, type: DataType?, shape: [UInt64], categories: [String] = [], optional: Bool = false,
    summary: String = ""
  ) {
    self.name = name
    self.type = type
    self.shape = shape
    self.categories = categories
    self.optional = optional
    self.summary = summary
  }
}

/// The answer to `DescribeModel`.
public struct ModelDescription: Sendable, Equatable {
  public var model: String
  public var version: UInt64
  /// State of the version; nil if the server named one that this client does not know.
  public var state: VersionState?
  /// `classification` or `regression`.
  public var task: String
  /// Inputs in the order of the columns of a dense `features` tensor.
  public var inputs: [TensorSpecReport]
  public var outputs: [TensorSpecReport]
  /// Label of every class, by class index.
  public var labels: [String]
  public var digest: String
  /// Name of the key that signed it; empty if unsigned.
  public var signer: String
  public var createdMilliseconds: UInt64
  /// Figures on the test split when the model was trained.
  public var metrics: [String: Double]
  public var lineage: [String: String]
  /// `int8`, `fp32` or `mixed`.
  public var precision: String
  /// The instruction set the plan was compiled for.
  public var isa: String
  public var residentBytes: UInt64
  /// The steps of the compiled plan, for people.
  public var plan: [String]
  /// What ``ModelListReport`` says of this version; nil from servers that do not send it.
  public var status: VersionReport?
  /// Why the server computes it this way, for people.
  public var planChoice: String

  public init(
    model: String, version: UInt64, state: VersionState?, task: String = "", inputs: [TensorSpecReport] = [],
    outputs: [TensorSpecReport] = [], labels: [String] = [], digest: String = "", signer: String = "",
    createdMilliseconds: UInt64 = 0, metrics: [String: Double] = [:], lineage: [String: String] = [:],
    precision: String = "", isa: String = "", residentBytes: UInt64 = 0, plan: [String] = [],
    status: VersionReport? = nil, planChoice: String = ""
  ) {
    self.model = model
    self.version = version
    self.state = state
    self.task = task
    self.inputs = inputs
    self.outputs = outputs
    self.labels = labels
    self.digest = digest
    self.signer = signer
    self.createdMilliseconds = createdMilliseconds
    self.metrics = metrics
    self.lineage = lineage
    self.precision = precision
    self.isa = isa
    self.residentBytes = residentBytes
    self.plan = plan
    self.status = status
    self.planChoice = planChoice
  }
}

extension ModelDescription: WireMessage {
  static let wireName: StaticString = "DescribeModelResponse"

  init() { self.init(model: "", version: 0, state: nil) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &model)
    fields.number(2, &version)
    fields.choice(3, &state)
    fields.text(4, &task)
    try fields.messages(5, &inputs)
    try fields.messages(6, &outputs)
    fields.texts(7, &labels)
    fields.text(8, &digest)
    fields.text(9, &signer)
    fields.number(10, &createdMilliseconds)
    try fields.map(11, &metrics)
    try fields.map(12, &lineage)
    fields.text(13, &precision)
    fields.text(14, &isa)
    fields.number(15, &residentBytes)
    fields.texts(16, &plan)
    try fields.message(17, &status)
    fields.text(18, &planChoice)
  }
}

extension TensorSpecReport: WireMessage {
  static let wireName: StaticString = "TensorSpec"

  init() { self.init(name: "", type: nil, shape: []) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &name)
    fields.choice(2, &type)
    try fields.packed(3, &shape)
    fields.texts(4, &categories)
    fields.flag(5, &optional)
    fields.text(6, &summary)
  }
}
