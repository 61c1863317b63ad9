internal import ArgumentParser
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

/// `needletail bundle verify FILE`: checks a bundle as a server does.
struct BundleVerify: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Check a bundle as a server would: signature, hashes, graph, golden samples.",
    discussion: "Exits 0 only if a server with this trust file would let the bundle go live, else 1.")

  @Argument(help: "A bundle file (.ntb).", completion: .file(extensions: ["ntb"]))
  var file: String

  @Option(help: ArgumentHelp("Trust file (YAML) with the keys that count.", valueName: "file"))
  var trust: String?

  @Flag(help: "Accept a bundle that nobody signed.")
  var allowUnsigned = false

  @Flag(help: "Print JSON.")
  var json = false

  func validate() throws {
    guard trust != nil || allowUnsigned else {
      throw ValidationError("expected --trust FILE or --allow-unsigned, found neither")
    }
  }

  func run() async throws {
    try InstructionSet.validateEnvironment()
    var report = VerificationReport(file: file, isQuiet: json)
    do {
      try verify(&report)
      if json { print(try BundleOutput.json(report)) }
    } catch {
      report.fail("\(error)")
      if json { print(try BundleOutput.json(report)) }
      throw error
    }
  }

  private func verify(_ report: inout VerificationReport) throws {
    var policy = try trust.map { path throws(BundleError) in try TrustPolicy.load(path: path) } ?? TrustPolicy()
    policy.allowUnsigned = allowUnsigned
    report.begin("read")
    let file = try BundleFile.open(path: file)
    report.pass("\(BundleOutput.grouped(file.count)) bytes")
    report.begin(VerificationStep.allCases[0].rawValue)
    let bundle = try BundleOutput.naming(self.file) { () throws(BundleError) in
      try VerifiedBundle(
        file, trust: policy, expecting: nil, nowMilliseconds: UnixTime.nowMilliseconds(),
        passed: { step in
          report.pass("")
          if let next = VerificationStep.allCases.drop(while: { $0 != step }).dropFirst().first {
            report.begin(next.rawValue)
          }
        })
    }
    report.identity(of: bundle)
    report.begin("sections")
    let contents = try BundleOutput.naming(self.file) { () throws(BundleError) in try bundle.decode() }
    report.pass(BundleOutput.counted(bundle.manifest.sections.count, "section"))
    report.begin("plan")
    let model = try CompiledModel(contents.definition)
    report.pass("\(model.plan.precision), \(model.plan.isa.rawValue)")
    report.begin("golden")
    try GoldenCheck.run(contents.golden, on: model)
    report.pass(BundleOutput.counted(contents.golden.count, "sample"))
    report.succeed()
  }
}

/// The steps of verification, printed as they pass.
struct VerificationReport: Encodable {
  struct Step: Encodable {
    let name: String
    let detail: String
    let isPassed: Bool
  }

  let file: String
  private(set) var model: String?
  private(set) var version: UInt64?
  private(set) var digest: String?
  private(set) var signer: String?
  private(set) var isGood = false
  private(set) var steps: [Step] = []

  private let isQuiet: Bool
  private var current = ""

  private enum CodingKeys: CodingKey {
    case file, model, version, digest, signer, isGood, steps
  }

  init(file: String, isQuiet: Bool) {
    self.file = file
    self.isQuiet = isQuiet
  }

  mutating func begin(_ step: String) { current = step }

  mutating func pass(_ detail: String) { append(detail, isPassed: true) }

  /// The step that began is the one that failed.
  mutating func fail(_ message: String) {
    if !current.isEmpty { append(isQuiet ? message : "", isPassed: false) }
  }

  mutating func identity(of bundle: VerifiedBundle) {
    model = bundle.manifest.model.name
    version = bundle.manifest.version.number
    digest = bundle.manifest.digest
    signer = bundle.signer
  }

  mutating func succeed() {
    isGood = true
    guard !isQuiet, let model, let version, let signer else { return }
    print(
      "\(model) version \(version) is good, \(signer.isEmpty ? "unsigned" : "signed by \(BundleOutput.plain(signer))")")
  }

  private mutating func append(_ detail: String, isPassed: Bool) {
    steps.append(Step(name: current, detail: detail, isPassed: isPassed))
    if !isQuiet {
      let name = current + String(repeating: " ", count: max(0, 10 - current.count))
      print("\(isPassed ? "ok      " : "FAILED  ")\(detail.isEmpty ? current : name + detail)")
    }
    current = ""
  }
}
