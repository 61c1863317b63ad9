public import ArgumentParser
import Foundation
import NeedletailCSV
import NeedletailCore
public import NeedletailTraining

struct SelectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "select",
    abstract: "Chooses the rows that people should label next.",
    discussion: """
      Ranks rows without a truth by what the model does not know of them, by how unlike the others they are, or both, \
      and writes the best as CSV. With --label-studio also as tasks for Label Studio, with the model's own label for \
      the rows that it is sure of.

        needletail-trainer select out/model.ntb --data pool.csv --count 200 --output next.csv
        needletail-trainer select out/model.ntb --data pool.csv --labelled data.csv --label-studio tasks.json \
      --confidence 0.98 --label-config labels.xml
      """)

  @Argument(help: ArgumentHelp("A bundle, such as the model.ntb of a run.", valueName: "model.ntb"))
  var bundle: String

  @Option(help: ArgumentHelp("Rows without a truth: CSV or JSON Lines.", valueName: "file"))
  var data: String

  @Option(help: ArgumentHelp("Rows to choose.", valueName: "n"))
  var count = 100

  @Option(help: ArgumentHelp("uncertainty, diversity or both.", valueName: "what"))
  var by = RowSelection.Strategy.both

  @Option(help: ArgumentHelp("Of uncertainty: entropy, margin or least_confidence.", valueName: "name"))
  var measure = RowSelection.Uncertainty.entropy

  @Option(help: ArgumentHelp("Rows labelled before, from which the chosen ones should differ.", valueName: "file"))
  var labelled: String?

  @Option(help: ArgumentHelp("Between the fields of the files; else as they tell.", valueName: "name"))
  var delimiter: CSVDelimiter?

  @Option(name: .shortAndLong, help: ArgumentHelp("Where to write the chosen rows.", valueName: "file"))
  var output = "selected.csv"

  @Option(help: ArgumentHelp("Where to write tasks for Label Studio.", valueName: "file"))
  var labelStudio: String?

  @Option(help: ArgumentHelp("Probability from which a row takes the model's label, in (0, 1].", valueName: "p"))
  var confidence: Double?

  @Option(help: ArgumentHelp("Where to write a labelling configuration for these tasks.", valueName: "file"))
  var labelConfig: String?

  @Option(help: ArgumentHelp("Name of the control that predictions are for.", valueName: "name"))
  var fromName = "label"

  @Option(help: ArgumentHelp("Name of the object that it labels.", valueName: "name"))
  var toName = "row"

  @Flag(help: "Prints what was chosen as JSON.")
  var json = false

  @Flag(name: .shortAndLong, help: "Prints nothing unless something is wrong.")
  var quiet = false

  func validate() throws {
    if count < 1 { throw ValidationError("--count: expected a number from 1, found \(count)") }
    if let confidence, !(confidence > 0 && confidence <= 1) {
      throw ValidationError("--confidence: expected a probability above 0 and up to 1, found \(confidence)")
    }
    if confidence != nil, labelStudio == nil {
      throw ValidationError("--confidence: expected --label-studio with the file for the labelled rows, found none")
    }
    if labelConfig != nil, labelStudio == nil {
      throw ValidationError("--label-config: expected --label-studio with the file for the tasks, found none")
    }
  }

  func run() throws { try perform(runTyped) }

  private func runTyped() throws(TrainingError) {
    for path in [output, labelStudio, labelConfig].compactMap({ $0 }) { try OutputPath.checkFile(path) }
    let console = Console(isSilent: quiet || json)
    var settings = RowSelection.Settings()
    settings.strategy = by
    settings.uncertainty = measure
    settings.count = count
    settings.labelled = labelled
    settings.confidenceMin = confidence
    settings.delimiter = delimiter
    let selected = try RowSelection(bundle: bundle, data: data, settings).run(observer: console.observer)
    try selected.write(to: output)
    let names = SelectedRows.LabelStudioNames(control: fromName, object: toName)
    if let labelStudio { try selected.writeTasks(to: labelStudio, names) }
    if let labelConfig { try selected.writeConfiguration(to: labelConfig, names) }
    if json {
      print(selected.document.json, terminator: "")
    } else if !quiet {
      print(selected.text, terminator: "")
      for path in [output, labelStudio, labelConfig].compactMap({ $0 }) { print("wrote \(path)") }
    }
  }
}

extension RowSelection.Strategy: ExpressibleByArgument {}
extension RowSelection.Uncertainty: ExpressibleByArgument {}
