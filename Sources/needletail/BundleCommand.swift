internal import ArgumentParser
internal import FoundationEssentials
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailSystem

/// `needletail bundle …`: works on files, needs no server.
struct BundleCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bundle",
    abstract: "Look into bundle files, verify and sign them.",
    subcommands: [BundleInspect.self, BundleVerify.self, BundleKeygen.self, BundleSign.self])
}

/// Helpers for the output of the subcommands.
enum BundleOutput {
  static func json(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }

  /// Runs `body` and puts the name of the file before its error.
  static func naming<Result>(_ file: String, _ body: () throws(BundleError) -> Result) throws(BundleError) -> Result {
    do throws(BundleError) {
      return try body()
    } catch {
      throw BundleError(error.reason, "\(file): \(error.message)")
    }
  }

  /// Foreign text made safe for a terminal: it moves no cursor and forges no lines.
  static func plain(_ text: String) -> String { text.escapingControls }

  /// Whole number with groups of three digits, for example `1,234,567`.
  static func grouped(_ number: Int) -> String {
    (number < 0 ? "-" : "") + MessageFormat.grouped(UInt64(number.magnitude))
  }

  /// Number with its noun, for example `1 feature` or `2 features`.
  static func counted(_ number: Int, _ noun: String) -> String {
    "\(grouped(number)) \(noun)\(number == 1 ? "" : "s")"
  }
}

/// Rows of aligned columns under a heading.
struct TextTable {
  enum Alignment {
    case left
    case right
  }

  let columns: [(title: String, alignment: Alignment)]
  var rows: [[String]] = []

  init(_ columns: [(title: String, alignment: Alignment)]) { self.columns = columns }

  /// Lines, indented by two, without trailing spaces.
  func lines() -> [String] {
    let widths = columns.indices.map { column in
      ([columns[column].title] + rows.map { $0[column] }).map(\.count).max() ?? 0
    }
    return ([columns.map(\.title)] + rows).map { row in
      var line = " "
      for (column, text) in row.enumerated() {
        let padding = String(repeating: " ", count: widths[column] - text.count)
        line += " " + (columns[column].alignment == .left ? text + padding : padding + text) + " "
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }
}

/// `needletail bundle inspect FILE`.
struct BundleInspect: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show what a bundle holds, or how it is computed on this machine.",
    discussion: """
      Checks all hashes on the way, but trusts any signature: ask `bundle verify` about those. Exits 1 if \
      the file is no bundle, or a broken one.

      With --plan it compiles the model for this CPU and measures each step: what runs in which kernel, \
      which bytes it touches, how long it takes at 1, 8 and 32 rows, and how near that is to what the \
      CPU can do. Measure on a machine that is otherwise idle.
      """)

  @Argument(help: "A bundle file (.ntb).", completion: .file(extensions: ["ntb"]))
  var file: String

  @Flag(help: "Compile it and show the plan with the time of each step.")
  var plan = false

  @Option(help: ArgumentHelp("Threads that may share one large layer, with --plan.", valueName: "n"))
  var threads = 1

  @Flag(help: "Print JSON.")
  var json = false

  func validate() throws {
    guard (1...64).contains(threads) else { throw ValidationError("--threads: expected 1 to 64, found \(threads)") }
    guard plan || threads == 1 else { throw ValidationError("--threads is for --plan, found it alone") }
  }

  func run() async throws {
    let found = try BundleFile.open(path: file)
    let (bundle, contents) = try BundleOutput.naming(file) { () throws(BundleError) in
      let bundle = try VerifiedBundle(found, trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
      return (bundle, try bundle.decode())
    }
    if plan {
      try InstructionSet.validateEnvironment()
      EnginePool.start(threads: threads)
      let description = try PlanDescription(bundle, contents.definition)
      print(try json ? BundleOutput.json(description) : description.text)
    } else {
      let description = BundleDescription(bundle, contents)
      print(try json ? BundleOutput.json(description) : description.text)
    }
  }
}

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

/// `needletail bundle keygen NAME`.
struct BundleKeygen: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keygen",
    abstract: "Make an Ed25519 key pair for signing bundles.",
    discussion: """
      NAME.key stays with the publisher; the printed lines go into the server's trust file. Where there is none yet, \
      --trust starts it.
      """)

  @Argument(help: "Name of the key, e.g. release.")
  var name: String

  @Option(help: ArgumentHelp("Where to write the files.", valueName: "dir"), completion: .directory)
  var directory = "."

  @Option(help: ArgumentHelp("Start a trust file with this key; it must not exist yet.", valueName: "file"))
  var trust: String?

  func validate() throws {
    do {
      _ = try ModelID(name)
    } catch {
      throw ValidationError(error.message.replacing("model name", with: "key name"))
    }
    if let trust, FileManager.default.fileExists(atPath: trust) {
      throw ValidationError("--trust \(trust): exists already; leave --trust out and add the printed lines to it")
    }
  }

  func run() async throws {
    let key = SigningKey()
    let privatePath = "\(directory)/\(name).key"
    let publicPath = "\(directory)/\(name).pub"
    try key.write(to: privatePath)
    let trustFile = """
      keys:
        - name: \(name)
          public_key: \(key.publicKey)
          models: ["*"]
          state: active

      """
    // Either all files are written or none; existing files are never touched.
    var written = [privatePath]
    do {
      try key.publicKey.write(to: publicPath)
      written.append(publicPath)
      if let trust { try AtomicFile.write(Array(trustFile.utf8), to: trust, replace: false) }
    } catch {
      for path in written { try? FileManager.default.removeItem(atPath: path) }
      throw error
    }
    print(
      """
      Private key: \(privatePath) (keep it off servers)
      Public key:  \(publicPath), key id \(key.publicKey.keyID)
      """)
    if let trust {
      print("Trust file:  \(trust), for needletail-server --trust")
    } else {
      print("\nFor the server's trust file:\n\n\(trustFile)", terminator: "")
    }
  }
}

/// `needletail bundle sign FILE --key KEYFILE`.
struct BundleSign: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sign",
    abstract: "Add a signature to a bundle.",
    discussion: "Replaces the file atomically. Other signatures stay; signing again with the same key changes nothing.")

  @Argument(help: "A bundle file (.ntb).", completion: .file(extensions: ["ntb"]))
  var file: String

  @Option(help: ArgumentHelp("Private key, as `bundle keygen` wrote it.", valueName: "file"))
  var key: String

  func run() async throws {
    let key = try SigningKey(file: key)
    let found = try BundleFile.open(path: file)
    // A broken bundle is never signed.
    let bundle = try BundleOutput.naming(file) { () throws(BundleError) in
      let bundle = try VerifiedBundle(found, trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
      _ = try bundle.decode()
      return bundle
    }
    let unsigned = found.bytes
    let signed = try key.sign(unsigned)
    let what = "\(bundle.manifest.model) version \(bundle.manifest.version), key id \(key.publicKey.keyID)"
    guard signed != unsigned else {
      print("Already signed: \(what)")
      return
    }
    try AtomicFile.write(signed, to: file, replace: true)
    print("Signed: \(what)")
  }
}
