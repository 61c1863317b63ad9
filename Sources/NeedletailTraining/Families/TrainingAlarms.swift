internal import NeedletailCore

/// Watches the steps of a training for the usual ways in which it goes wrong, and says each of them once.
///
/// A loss that is no number ends the training in the family itself; these are signs that the user should know.
struct TrainingAlarms {
  /// The training loss grew to so many times its smallest value.
  static let explosion = 10.0
  /// The validation loss is so many times its best, for so many steps, while the training loss is below that of the best.
  static let overfitting = 1.5
  static let overfittingSteps = 10
  /// The first layer's gradients are so small beside the last layer's, for so many steps.
  static let vanishing = 1e-4
  static let vanishingSteps = 3

  private var smallestLoss = Double.infinity
  private var best = (loss: Double.infinity, trainingLoss: Double.infinity, step: 0)
  private var overfitted = 0
  private var vanished = 0
  private var said: Set<String> = []

  /// - Returns: sentences that are due after this step.
  mutating func observe(_ report: EpochReport) -> [String] {
    var sentences: [String] = []
    func say(_ kind: String, _ text: String) {
      if said.insert(kind).inserted { sentences.append("\(report.stepName) \(report.epoch): \(text)") }
    }
    if report.loss.isFinite {
      if report.loss > Self.explosion * smallestLoss, smallestLoss > 0 {
        say(
          "explosion",
          "the training loss has grown from \(Figures.short(smallestLoss)) to \(Figures.short(report.loss)); "
            + "lower training.learning_rate")
      }
      smallestLoss = min(smallestLoss, report.loss)
    }
    if let loss = report.validationLoss {
      if loss < best.loss { best = (loss, report.loss, report.epoch) }
      let isWorse = best.loss > 0 && loss > Self.overfitting * best.loss && report.loss < best.trainingLoss
      overfitted = isWorse ? overfitted + 1 : 0
      if overfitted >= Self.overfittingSteps {
        say(
          "overfitting",
          "the validation loss has risen from \(Figures.short(best.loss)) at \(report.stepName) \(best.step) to "
            + "\(Figures.short(loss)) while the training loss fell: it learns the training rows by heart; "
            + "a smaller model, more regularisation or a shorter training.patience would end it sooner")
      }
    }
    if let share = report.firstLayerShare {
      vanished = share < Self.vanishing ? vanished + 1 : 0
      if vanished >= Self.vanishingSteps {
        say(
          "vanishing",
          "gradients of the first layer are \(Figures.short(share)) of those of the last, so it learns nothing; "
            + "fewer layers, or model.activation: relu")
      }
    }
    return sentences
  }
}
