internal import NeedletailCSV
internal import NeedletailCore
internal import NeedletailEngine

/// Every key that a run file may have.
enum RunSettings {
  /// - Parameters:
  ///   - family: declares the keys of `model` and `training`, and narrows those of `features` and `preprocessing`.
  ///   - families: all that may be chosen.
  static func all(family: any ModelFamily, among families: [any ModelFamily]) -> [Setting] {
    let familySetting = Setting(
      "family", .choice(families.names), isRequired: true,
      families.map { "\($0.name): \($0.summary)" }.joined(separator: " "))
    return [
      Setting("data", .section(data), "Where the rows come from; paths are relative to this file."),
      Setting(
        "features", .section(features(family.preprocessing)), "What the model gets to see, and what it does with gaps."),
      Setting("target", .section(target), "What it predicts."),
      Setting("split", .section(split), "Rows for training, for steering it, and for the final judgement."),
      Setting(
        "preprocessing", .section(preprocessing(family.preprocessing)),
        "Becomes part of the model: the server runs the same."),
      Setting("text", .section(TextSettings.settings), "What becomes of columns that are text: terms, a column each."),
      Setting("model", .section([familySetting] + family.modelSettings), "The model family and its shape."),
      Setting("training", .section([seed, refit] + family.trainingSettings), "How it learns."),
      Setting("tuning", .section(tuning(families)), "What needletail-trainer tune searches; train takes no notice."),
      Setting("evaluation", .section(evaluation), "What the report says beside its usual figures."),
      Setting("tracking", .section(tracking), "Where the run is remembered."),
      Setting("quantisation", .section(quantisation), "Smaller and faster weights, if the metric allows."),
      Setting("publish", .section(publish), "The name it is served under."),
    ]
  }

  static let seed = Setting(
    "seed", .integer(0...Int(Int32.max)), .integer(1), "The same seed gives the same model.")

  static let refit = Setting(
    "refit", .flag, .flag(false),
    "Fits the model that is served again on all rows, test rows among them; figures stay those of the split.")

  static let data: [Setting] = [
    Setting(
      "files", .list(.text), isRequired: true,
      "Files of rows, also packed with gzip or zstd; several are read one after the other. - is standard input."),
    Setting("columns", .list(.text), "Feature columns; left out: all but the target and the dropped."),
    Setting("drop", .list(.text), .list([]), "Columns to leave out, such as identifiers."),
    Setting(
      "missing", .list(.text), .list(ValueRules.missingDefault.map { .text($0) }),
      "What stands for a missing value beside an empty cell; the model keeps it."),
    Setting(
      "duplicates", .choice(["keep", "drop"]), .text("keep"),
      "Rows that repeat an earlier one in every column of the files."),
    Setting(
      "thousands", .choice(NumberStyle.Thousands.allCases.map(\.name)), .text("none"),
      "Mark between groups of three digits; the model keeps it, as it does the next two."),
    Setting("decimal", .choice(["point", "comma"]), .text("point"), "Mark before decimals."),
    Setting(
      "units", .choice(["refuse", "ignore"]), .text("refuse"),
      "A sign of a currency or per cent beside a number; ignored, 3% is 3."),
    Setting(
      "format", .choice(["auto"] + DataFormat.Kind.allCases.map(\.rawValue)), .text("auto"),
      "CSV, or one JSON object a line; auto: as the files themselves tell, as in the next three."),
    Setting("delimiter", .choice(["auto"] + CSVDelimiter.allCases.map(\.rawValue)), .text("auto"), "Between fields."),
    Setting(
      "quote", .choice(["auto"] + CSVQuote.allCases.map(\.rawValue)), .text("auto"),
      "Around fields that hold delimiters or line ends."),
    Setting(
      "encoding", .choice(["auto"] + TextEncoding.allCases.map(\.rawValue)), .text("auto"),
      "Of characters; windows-1252 is also called Latin-1."),
  ]

  /// Buckets of hashed categories: of 500 categories two in five then share theirs, and of 100 one in eleven.
  static let bucketsDefault = 1024

  private static func encoding(_ request: PreprocessingRequest) -> Setting.Kind {
    .choice(
      RunConfiguration.Encoding.allCases.filter { $0 != .oneHot || request.categories == .oneHot }.map(\.rawValue))
  }

  private static func scale(_ request: PreprocessingRequest) -> Setting.Kind {
    .choice(RunConfiguration.Scaling.allCases.filter { $0 == .none || request.numbers == .scaled }.map(\.rawValue))
  }

  static let unknownPolicy = Setting.Kind.choice(["refuse", "zeros", "other"])

  static func features(_ request: PreprocessingRequest) -> [Setting] {
    let keep = request.missing == .kept ? ["keep"] : []
    let missingPolicy = Setting.Kind.choice(keep + ["refuse", "mean", "median", "most_frequent", "constant"])
    let known = keep.isEmpty ? "refuse it" : "keep it, which the model understands, refuse it"
    let takesCodes = request.categories == .codes
    let buckets = Setting.Kind.integer(2...Limits.bucketsMax)
    return [
      Setting(
        "missing", missingPolicy, .text(request.missing == .kept ? "keep" : "refuse"),
        "A missing value: \(known), or fill it in (mean and median mean most_frequent for categories)."),
      Setting(
        "unknown", unknownPolicy, .text("refuse"),
        "A category never seen in training: refuse it, encode it as zeros, or as one more category."),
      Setting(
        "missing_flags", .flag, .flag(false),
        "Adds a column of 0 and 1 beside each that lacks values in training rows: 1 where it does."),
      Setting(
        "encoding", encoding(request), .text("auto"),
        takesCodes
          ? "What becomes of categories; auto: this family takes them as they are."
          : "What becomes of categories; auto: a column each up to \(Limits.oneHotLevelsMax), else by their mean target "
            + "(up to \(Limits.targetClassesMax) classes), else hashed."),
      Setting(
        "buckets", buckets, .integer(bucketsDefault), "Columns that hashed categories and crosses of categories share."),
      Setting(
        "smoothing", .number(0...1e9),
        "Rows that the mean of all rows counts as in encoding: target; left out: as the spread asks for."),
      Setting(
        "interactions", .list(.list(.text)), .list([]),
        "Products of numbers and crosses of categories, such as [[width, height], [make, model]]."),
      Setting(
        "columns",
        .sectionPerColumn([
          Setting(
            "type", .choice(TableRequest.ColumnType.allCases.map(\.rawValue)), .text("auto"),
            "What the column holds."),
          Setting("missing", missingPolicy, "As above, for this column."),
          Setting("unknown", unknownPolicy, "As above, for this column."),
          Setting("missing_flags", .flag, "As above, for this column."),
          Setting("encoding", encoding(request), "As above, for this column."),
          Setting("buckets", buckets, "As above, for this column."),
          Setting("scale", scale(request), "As preprocessing.scale, for this column."),
          Setting("constant", .text, "What to fill in with missing: constant."),
          Setting(
            "order", .choice(DateOrder.allCases.map(\.name)),
            "What stands first in dates that do not begin with the year; left out: as the dates themselves tell."),
          Setting(
            "parts", .list(.choice(DatePart.allCases.map(\.name))),
            "Parts of a date that the model gets; left out: those that vary."),
          Setting("summary", .text, "One sentence for people who call the model."),
        ]), "Columns that differ."),
    ]
  }

  static let target: [Setting] = [
    Setting("column", .text, isRequired: true, "The column to predict."),
    Setting(
      "task", .choice(TableRequest.TargetUse.allCases.map(\.rawValue)), .text("auto"),
      "Classification for text and for at most 20 different whole numbers, else regression."),
    Setting("weight", .text, "Column of the rows' weights in the loss; no feature. For families that take weights."),
    Setting(
      "group", .text,
      "Column that says which rows belong together: all of a group are in the same part; no feature."),
  ]

  static let split: [Setting] = [
    Setting("train", .number(0.01...1), .number(0.7), "Fractions; they add up to 1."),
    Setting("validation", .number(0...0.9), .number(0.15), "Decides when to stop and whether int8 is good enough."),
    Setting("test", .number(0.01...0.9), .number(0.15), "Never seen before the final figures."),
    Setting("seed", .integer(0...Int(Int32.max)), .integer(1), "Which rows go where."),
    Setting(
      "time", .text, "Column of dates or numbers: the earliest rows train, the latest test. It may be a feature too."),
    Setting("column", .text, "Column that says train, validation or test of each row; no feature."),
    Setting("stratified", .flag, .flag(true), "Every class in the same proportion in every part."),
  ]

  static func preprocessing(_ request: PreprocessingRequest) -> [Setting] {
    switch request.numbers {
    case .scaled:
      [
        Setting(
          "scale", scale(request), .text("standardise"),
          "Mean 0 and deviation 1 (also behind power and log), the range 0 to 1, median 0 and quartiles 1 apart, or "
            + "quantiles; fitted on the training rows only.")
      ]
    case .unscaled: [Setting("scale", .choice(["none"]), .text("none"), "This family takes numbers as they are.")]
    }
  }

  static let quantisation: [Setting] = [
    Setting(
      "precision", .choice(["auto", "int8", "fp32"]), .text("auto"),
      "With auto, int8 where there is something to gain and the metric allows it."),
    Setting(
      "max_loss_points", .number(0...100), .number(0.5),
      "Accuracy, or R² times 100, that int8 may cost on validation or test rows."),
    Setting("calibration_rows", .integer(1...1_000_000), .integer(512), "Training rows that int8 is measured on."),
  ]

  static let publish: [Setting] = [
    Setting(
      "model", .text,
      "The model's name in a store; left out: the name of this file, or of the table where this is run.yaml."),
    Setting(
      "expires_days", .integer(1...36_500), "A server refuses the version after so many days; left out: never."),
  ]
}
