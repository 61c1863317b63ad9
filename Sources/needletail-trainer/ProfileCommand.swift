internal import ArgumentParser
internal import NeedletailCSV
internal import NeedletailTraining

struct ProfileCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "profile",
    abstract: "Says what a table holds, before anything is trained on it.",
    discussion: """
      Types, missing and distinct values, quantiles, skew, correlations, what each column alone tells of the target, \
      repeated rows, alerts, and one score. Reads what init reads.

        needletail-trainer profile churn.csv --target churned
        zcat labels.csv.gz | needletail-trainer profile - --annotators anna,ben --json
      """)

  @Argument(help: "A file with rows; - is standard input.")
  var data: String

  @Option(help: ArgumentHelp("The column to predict.", valueName: "column"))
  var target: String?

  @Option(help: ArgumentHelp("Between the fields of the file; else as the file tells.", valueName: "name"))
  var delimiter: CSVDelimiter?

  @Option(
    help: ArgumentHelp("Two columns of labels for the same rows: how far they agree.", valueName: "column,column"))
  var annotators: String?

  @Flag(help: "Prints every figure as JSON.")
  var json = false

  func run() throws {
    var pair: (String, String)?
    if let annotators {
      let names = annotators.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      guard names.count == 2 else {
        throw UserError("--annotators: expected two columns with a comma between them, found \(annotators)")
      }
      pair = (names[0], names[1])
    }
    let profile: TableProfile
    do {
      profile = try TableProfile(name: data, path: data, delimiter: delimiter, target: target, annotators: pair)
    } catch {
      throw UserError(error)
    }
    print(json ? profile.document.json : profile.render(Terminal(descriptor: 1)), terminator: "")
  }
}
