internal import NeedletailCore
internal import NeedletailEngine

/// Linear models of texts: logistic regression, or least squares, on the terms of columns that are text, beside whatever
/// other columns there are.
///
/// The objectives are those of ``LogisticRegression`` and of ridge regression, whose penalty is ½‖w‖² / C beside the sum
/// of squared errors' half. Terms are never written out, neither here nor in the server.
struct TextLinear: ModelFamily {
  let name = "text_linear"
  let summary = "linear classifier or regression on the words, or n-grams, of columns of text."
  let tasks: Set<ModelGraph.Task> = [.classification, .regression]
  let usesWeights = true
  let takesText = true
  let needsText = true
  let modelSettings = [
    Setting("c", .number(1e-12...1e12), .number(10), "Inverse strength of the penalty, as C of scikit-learn."),
    Setting(
      "l1_ratio", .number(0...1), .number(0),
      "Share of the penalty that is on magnitudes, as in scikit-learn; it makes weights 0."),
  ]
  let trainingSettings = [
    Setting("iterations_max", .integer(1...1_000_000), .integer(1000), "Iterations at most."),
    Setting("tolerance", .number(1e-14...1), .number(1e-5), "Stop when the gradient is below."),
    RowWeights.setting,
  ]

  func searchSettings(_ table: SearchTable) -> [SearchSetting] {
    [.logarithmic("model.c", 1e-2...1e3, first: 10)]
  }

  func tunedSettings(_ table: SearchTable) -> [(path: String, value: Document)] {
    // Figures of held-out rows no longer change.
    [("training.tolerance", .number(1e-4))]
  }

  func fit(_ context: FitContext<IndicatorRows>) throws(TrainingError) -> any FittedModel {
    guard context.task == .regression else { return try LogisticRegression().fit(context) }
    let shares = try RowWeights.shares(context)
    let total =
      context.train.weights.isEmpty
      ? Double(context.train.count) : context.train.weights.reduce(0) { $0 + Double($1) }
    let penalty = 1 / ((context.model["c"].number ?? 10) * total)
    let ratio = context.model["l1_ratio"].number ?? 0
    return try LinearRegression.iterated(
      .squared, context, shares: shares, l1: penalty * ratio, l2: penalty * (1 - ratio))
  }
}
