internal import NeedletailCore

extension RunSettings {
  static let evaluation: [Setting] = [
    Setting(
      "threshold_for", .choice(["none"] + ChosenThreshold.Metric.allCases.map(\.rawValue)), .text("none"),
      "Figure that a threshold for the second of two classes is chosen for, on the validation rows; the served class "
        + "keeps to it."),
    Setting(
      "false_alarm_cost", .number(0...1e9), .number(1),
      "With threshold_for: cost, what the second class costs where the first is true."),
    Setting(
      "miss_cost", .number(0...1e9), .number(1),
      "With threshold_for: cost, what the first class costs where the second is true."),
    Setting("subgroups", .list(.text), .list([]), "Features by whose values the test rows are judged apart."),
    Setting("report", .flag, .flag(true), "Writes report.json and report.html, which take some seconds of measuring."),
  ]

  static let tracking: [Setting] = [
    Setting("record", .flag, .flag(true), "Keeps parameters, metrics and files of the run for: runs list."),
    Setting(
      "path", .text, "The file that keeps them; left out: needletail/runs.sqlite in $XDG_DATA_HOME or ~/.local/share."),
    Setting("mlflow", .text, "Address of an MLflow server that gets a copy, such as http://localhost:5000."),
    Setting("experiment", .text, "Name of the experiment there; left out: the model's name."),
    Setting("register", .flag, .flag(false), "Makes a version of the registered model there."),
    Setting("alias", .text, "Alias that then points to this version, such as champion."),
  ]
}

/// The section `evaluation` of a run file.
struct EvaluationSettings {
  let thresholdMetric: ChosenThreshold.Metric?
  let costs: ChosenThreshold.Costs
  /// Features by whose values rows are judged apart.
  let subgroups: [String]

  init(_ document: Document) {
    let evaluation = document["evaluation"]
    thresholdMetric = ChosenThreshold.Metric(rawValue: evaluation["threshold_for"].text ?? "")
    costs = ChosenThreshold.Costs(
      falseAlarm: evaluation["false_alarm_cost"].number ?? 1, miss: evaluation["miss_cost"].number ?? 1)
    subgroups = evaluation["subgroups"].elements.compactMap(\.text).map { ValueText.normalised($0) }
  }

  /// - Throws: `TrainingError` for a setting that does not fit the data, before anything is trained.
  func check(_ data: PreparedData, _ configuration: RunConfiguration) throws(TrainingError) {
    if thresholdMetric != nil {
      let path = "evaluation.threshold_for"
      guard data.labels.count == 2 else {
        throw .configuration(
          configuration.location(of: path),
          "\(path): expected two classes in \(data.dataset.target.name.quotedForMessage), found "
            + (data.labels.isEmpty ? "numbers" : "\(data.labels.count)"))
      }
      guard !data.split.validation.isEmpty else {
        throw .configuration(
          configuration.location(of: path), "\(path): expected validation rows to choose it on, found none")
      }
    }
    let names = data.preprocessing.schema.features.map(\.name)
    for column in subgroups where !names.contains(column) {
      throw .configuration(
        configuration.location(of: "evaluation.subgroups"),
        "evaluation.subgroups: expected features (evaluate --subgroup takes any column), found "
          + column.quotedForMessage + Suggestion.clause(for: column, among: names))
    }
  }

  /// Threshold for the second class that is best on the validation rows; nil where none is asked for, or the model tells
  /// no probabilities.
  ///
  /// - Parameter weights: of the rows; none: all count alike.
  func threshold(_ validation: Evaluation, targets: [Double], weights: [Double]) -> ChosenThreshold? {
    guard let thresholdMetric, validation.areProbabilities, validation.numbers.count == 2 * targets.count else {
      return nil
    }
    return ChosenThreshold(
      thresholdMetric,
      RankedScores(
        targets.indices.map { (validation.numbers[2 * $0 + 1], targets[$0] == 1) }, weights: weights), costs: costs)
  }
}
