public import NeedletailCore
internal import NeedletailSystem

/// A definition with its binder and its plan: everything that answers rows.
public final class CompiledModel: Sendable {
  /// Schema, labels and the graph's structure; the canonical weights and trees are dropped, for the plan
  /// holds them packed.
  public let definition: ModelDefinition
  public let plan: Plan
  /// The trial behind the plan; nil where nobody asked for one.
  public let choice: PlanChoice?
  public let binder: FeatureBinder

  /// - Parameter choice: how to compute it, from ``PlanChoice/make(for:policy:isa:)`` for this graph; nil
  ///   computes what the definition stores, on the kernels of `options`.
  /// - Throws: what is wrong with the schema, the graph or the labels.
  public init(
    _ definition: ModelDefinition, options: PlanOptions = PlanOptions(), choice: PlanChoice? = nil
  ) throws(PlanError) {
    var options = options
    if let choice { options.isa = choice.isa }
    self.choice = choice
    try FeatureBinder.check(definition.schema)
    do throws(GraphFault) {
      try definition.check()
    } catch {
      throw PlanError(error)
    }
    binder = try FeatureBinder(
      definition.schema, element: definition.graph.values[0].type.element, textBytesMax: options.textBytesMax,
      tokenBound: definition.graph.tokenBound)
    plan =
      choice?.dequantises == true
      ? try Plan(definition.graph.dequantised, options: options)
      : try Plan(checked: definition.graph, options: options)
    var structure = definition
    structure.graph.tensors = []
    structure.graph.tokenizer = nil
    for node in structure.graph.nodes.indices {
      structure.graph.nodes[node].operation = structure.graph.nodes[node].operation.structure
    }
    self.definition = structure
  }

  /// Answers raw rows, for tools and tests: chunks by `plan.rowsMax`, allocates.
  ///
  /// - Parameter rows: one cell per feature, in schema order.
  /// - Returns: per output, the values of all rows one after the other (row-major); class indices as
  ///   numbers, class labels as strings.
  public func answers(for rows: [[Cell]]) throws(ServingError) -> [(name: String, answer: GoldenSample.Answer)] {
    let workspace: Workspace
    do throws(PlanError) { workspace = try Workspace(plan) } catch { throw ServingError(.internal, error.message) }
    return try answers(for: rows, in: workspace)
  }

  /// ``answers(for:)`` in scratch that the caller has.
  func answers(
    for rows: [[Cell]], in workspace: borrowing Workspace
  ) throws(ServingError) -> [(name: String, answer: GoldenSample.Answer)] {
    var numbers = [[Double]](repeating: [], count: plan.outputs.count)
    var strings = [[String]](repeating: [], count: plan.outputs.count)
    var start = 0
    while start < rows.count {
      let count = try binder.bind(
        rows: rows.count - start, from: start, for: plan, into: workspace.rows
      ) { rows[$0] }
      plan.runAlone(workspace, rows: count)
      if let error = plan.textError(workspace, rows: 0..<count, first: start) { throw error }
      start += count
      for (index, output) in plan.outputs.enumerated() {
        let values = UnsafeBufferPointer(start: workspace.output(index), count: count * output.columns)
        switch output.kind {
        case .number, .classIndex: numbers[index] += values.map { Double($0) }
        case .classLabel: strings[index] += values.map { definition.labels[Int($0)] }
        }
      }
    }
    return plan.outputs.indices.map { index in
      let output = plan.outputs[index]
      return (output.name, output.kind == .classLabel ? .strings(strings[index]) : .numbers(numbers[index]))
    }
  }
}

/// Which golden sample a model failed, and how.
public struct GoldenFailure: Error, Equatable, Sendable, CustomStringConvertible {
  public let sample: String
  /// The output at fault; nil where the whole row was at fault.
  public let output: String?
  public let expected: String
  public let found: String
  /// Whether the system had no memory to compute the sample, which says nothing about the model.
  public let isMemoryShort: Bool

  public init(sample: String, output: String?, expected: String, found: String, isMemoryShort: Bool = false) {
    self.sample = sample
    self.output = output
    self.expected = expected
    self.found = found
    self.isMemoryShort = isMemoryShort
  }

  public var description: String {
    let place = output.map { ", output \($0.quotedForMessage)" } ?? ""
    return "golden sample \(sample.quotedForMessage)\(place): expected \(expected), found \(found)"
  }
}

extension CompiledModel {
  /// The model to serve: this one if its golden samples pass. If they do not, and it computes in another
  /// precision than its bundle stores, the bundle's own, if that passes.
  ///
  /// - Parameters:
  ///   - definition: what it was compiled from, with all weights.
  ///   - options: likewise.
  /// - Throws: the first sample that fails in the bundle's own precision.
  public func passing(
    _ samples: [GoldenSample], of definition: ModelDefinition, options: PlanOptions = PlanOptions()
  ) throws(GoldenFailure) -> CompiledModel {
    do throws(GoldenFailure) {
      try GoldenCheck.run(samples, on: self)
      return self
    } catch {
      guard !error.isMemoryShort, let choice, choice.dequantises,
        let stored = try? CompiledModel(
          definition, options: options, choice: choice.storedInstead(because: error.description))
      else { throw error }
      try GoldenCheck.run(samples, on: stored)
      return stored
    }
  }
}

/// Revision of the engine's numerics, which golden samples record with their answers.
///
/// All kernels of one revision give the same bits for the same graph and row, on every instruction set and whatever the
/// batch. It rises with each change that gives other bits for a graph that could be stored before:
///
/// 1. exp, logistic, tanh, GELU, softplus and softmax without fused multiply-adds;
/// 2. the same with them, and with other polynomials; softmax divides once a row.
public enum Numerics {
  public static let revision: UInt32 = 2
}

/// Runs a bundle's golden samples on the machine that will serve it.
public enum GoldenCheck {
  /// Compares bits where this engine's numerics gave the recorded answers and the model computes as its bundle stores
  /// it, so that one wrong bit in a weight or a kernel shows. Other numerics, and int8 layers computed in fp32, may
  /// differ by the sample's tolerance. A plan that may round may differ by ``relaxedTolerance``, and a class that
  /// follows from numbers which agree may then be another.
  ///
  /// - Throws: the first sample whose answer differs.
  public static func run(_ samples: [GoldenSample], on model: CompiledModel) throws(GoldenFailure) {
    guard let first = samples.first else { return }
    let scratch: WorkspaceSet
    do throws(PlanError) { scratch = try WorkspaceSet(model.plan, threads: 0) } catch {
      throw GoldenFailure(
        sample: first.name, output: nil, expected: "an answer", found: error.message,
        isMemoryShort: error.isMemoryShort)
    }
    var failure: GoldenFailure?
    Pieces.whileTrue(samples.count, size: 1) { range in
      do throws(GoldenFailure) {
        try check(samples[range.lowerBound], on: model, in: scratch.background.workspace)
        return true
      } catch {
        failure = error
        return false
      }
    }
    if let failure { throw failure }
  }

  /// Relative difference that a plan which may round is allowed: as much as int8 is. bf16 has 8 bits: the error of a sum
  /// of products is 0.2 % of its norm.
  static let relaxedTolerance = 2e-2

  private static func check(
    _ sample: GoldenSample, on model: CompiledModel, in workspace: borrowing Workspace
  ) throws(GoldenFailure) {
    func failure(_ output: String?, expected: String, found: String) -> GoldenFailure {
      GoldenFailure(sample: sample.name, output: output, expected: expected, found: found)
    }

    let answers: [(name: String, answer: GoldenSample.Answer)]
    do {
      answers = try model.answers(for: [sample.cells], in: workspace)
    } catch {
      switch sample.expectation {
      case .refusal(error.code): return
      case .refusal(let code): throw failure(nil, expected: "refusal \(code)", found: "\(error)")
      case .answers: throw failure(nil, expected: "an answer", found: "\(error)")
      }
    }
    guard case .answers(let expectations) = sample.expectation else {
      throw failure(nil, expected: "a refusal", found: "an answer")
    }
    guard !expectations.isEmpty, sample.tolerance.isFinite, sample.tolerance >= 0 else {
      throw failure(nil, expected: "outputs and a finite tolerance", found: "tolerance \(sample.tolerance)")
    }
    for (name, expected) in expectations {
      guard let index = answers.firstIndex(where: { $0.name == name }) else {
        throw failure(name, expected: "such an output", found: "none")
      }
      let (mayRound, isNumber) = (model.plan.mayRound, model.plan.outputs[index].kind == .number)
      if mayRound, !isNumber, model.plan.outputs.contains(where: { $0.kind == .number }) { continue }
      let isExact = sample.numerics == Numerics.revision && model.choice?.dequantises != true && !mayRound
      let allowed = mayRound ? max(sample.tolerance, relaxedTolerance) : sample.tolerance
      let tolerance: Double? = isExact ? nil : isNumber ? allowed : 0
      if let difference = difference(expected, answers[index].answer, tolerance: tolerance) {
        throw failure(name, expected: difference.expected, found: difference.found)
      }
    }
  }

  /// The first place where two answers disagree.
  ///
  /// - Parameter tolerance: nil compares bits.
  private static func difference(
    _ expected: GoldenSample.Answer, _ found: GoldenSample.Answer, tolerance: Double?
  ) -> (expected: String, found: String)? {
    switch (expected, found) {
    case (.numbers(let expected), .numbers(let found)):
      guard expected.count == found.count else { return ("\(expected.count) numbers", "\(found.count)") }
      for (column, (x, y)) in zip(expected, found).enumerated() {
        guard let tolerance else {
          if x.bitPattern == y.bitPattern { continue }
          return ("exactly \(x) in column \(column), as numerics \(Numerics.revision) computed it", "\(y)")
        }
        // Written so that a NaN fails it, unless both are.
        let agrees = x == y || abs(y - x) <= tolerance * max(1, abs(x)) || (x.isNaN && y.isNaN)
        if !agrees { return ("\(x) ± \(tolerance) relative in column \(column)", "\(y)") }
      }
      return nil
    case (.strings(let expected), .strings(let found)):
      guard expected.count == found.count else { return ("\(expected.count) strings", "\(found.count)") }
      for (x, y) in zip(expected, found) where x != y { return (x.quotedForMessage, y.quotedForMessage) }
      return nil
    case (.numbers, .strings): return ("numbers", "strings")
    case (.strings, .numbers): return ("strings", "numbers")
    }
  }
}
