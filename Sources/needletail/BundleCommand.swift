internal import ArgumentParser
internal import FoundationEssentials
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

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
