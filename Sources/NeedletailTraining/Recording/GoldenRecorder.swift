internal import NeedletailCore
internal import NeedletailEngine

/// Records what a compiled model answers for rows that a server must answer alike before it goes live:
/// typical rows, extremes, gaps, unseen categories, and what must be refused.
struct GoldenRecorder {
  let model: CompiledModel
  /// Largest difference another instruction set may show.
  let tolerance: Double

  static let typicalRowsMax = 8
  static let unseenCategoriesMax = 8

  init(model: CompiledModel) {
    self.model = model
    // fp32 kernels may sum in another order; in int8 a last bit can move an activation by one step of 1/127.
    tolerance = model.plan.precision == "fp32" ? 1e-5 : 2e-2
  }

  private var features: [Feature] { model.definition.schema.features }

  /// - Parameters:
  ///   - typical: raw rows with their numbers, for instance of the test split.
  ///   - training: raw rows that the extremes are taken from.
  func record(
    typical: [(number: Int, cells: [Cell])], training: [[Cell]]
  ) throws(TrainingError) -> [GoldenSample] {
    var samples: [GoldenSample] = []
    let step = max(1, typical.count / Self.typicalRowsMax)
    for index in stride(from: 0, to: typical.count, by: step).prefix(Self.typicalRowsMax) {
      samples.append(try answered("row \(typical[index].number)", typical[index].cells))
    }
    guard let base = typical.first?.cells ?? training.first else { return samples }
    samples.append(try answered("all at their minimum", extremes(training, largest: false)))
    samples.append(try answered("all at their maximum", extremes(training, largest: true)))
    samples.append(contentsOf: try gaps(base))
    samples.append(contentsOf: try unseenCategories(base))
    if let index = features.firstIndex(where: { $0.kind == .numeric }) {
      var cells = base
      cells[index] = .number(.infinity)
      samples.append(try refused("infinity in \(features[index].name)", cells))
    }
    return samples
  }

  private func extremes(_ training: [[Cell]], largest: Bool) -> [Cell] {
    features.indices.map { index in
      switch features[index].kind {
      case .numeric:
        let numbers = training.compactMap { row -> Double? in
          if case .number(let number) = row[index] { number } else { nil }
        }
        return .number((largest ? numbers.max() : numbers.min()) ?? 0)
      case .categorical(let categories, _):
        return (largest ? categories.last : categories.first).map { .text($0) } ?? .missing
      }
    }
  }

  private func gaps(_ base: [Cell]) throws(TrainingError) -> [GoldenSample] {
    let missing = [Cell](repeating: .missing, count: features.count)
    guard let index = features.firstIndex(where: { $0.missing == .refuse }) else {
      return [try answered("all missing", missing)]
    }
    var one = base
    one[index] = .missing
    return [try refused("all missing", missing), try refused("missing \(features[index].name)", one)]
  }

  private func unseenCategories(_ base: [Cell]) throws(TrainingError) -> [GoldenSample] {
    var samples: [GoldenSample] = []
    for (index, feature) in features.enumerated() {
      guard case .categorical(let categories, let unknown) = feature.kind else { continue }
      guard samples.count < Self.unseenCategoriesMax else { break }
      var unseen = "unseen"
      while categories.contains(unseen) { unseen += "_" }
      var cells = base
      cells[index] = .text(unseen)
      let name = "unseen category in \(feature.name)"
      samples.append(unknown == .refuse ? try refused(name, cells) : try answered(name, cells))
    }
    return samples
  }

  private func answered(_ name: String, _ cells: [Cell]) throws(TrainingError) -> GoldenSample {
    var answers: [(name: String, answer: GoldenSample.Answer)]
    do throws(ServingError) {
      answers = try model.answers(for: [cells])
    } catch {
      throw .fit("golden sample \(name.quotedForMessage): expected an answer, found \(error)")
    }
    // Where two classes are nearly tied, only their probabilities are promised.
    if case .numbers(let probabilities)? = answers.first(where: { $0.name == "probabilities" })?.answer {
      let sorted = probabilities.sorted(by: >)
      if sorted.count > 1, sorted[0] - sorted[1] <= 4 * tolerance {
        answers = answers.filter { $0.name == "probabilities" }
      }
    }
    return GoldenSample(name: name, cells: cells, expectation: .answers(answers), tolerance: tolerance)
  }

  private func refused(_ name: String, _ cells: [Cell]) throws(TrainingError) -> GoldenSample {
    do throws(ServingError) {
      _ = try model.answers(for: [cells])
    } catch {
      guard error.code == .invalidArgument else { throw TrainingError(error) }
      return GoldenSample(
        name: name, cells: cells, expectation: .refusal(.invalidArgument), tolerance: tolerance)
    }
    throw .fit("golden sample \(name.quotedForMessage): expected a refusal, found an answer")
  }
}
