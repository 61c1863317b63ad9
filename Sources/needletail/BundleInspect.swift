internal import ArgumentParser
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

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
