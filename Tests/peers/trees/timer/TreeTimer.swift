import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine

/// Times whole runs of an imported model's plan, as `Tests/peers/trees/compare.py` asks for them.
///
///     needletail-tree-timer BUNDLE ROWS LOADS
///
/// ROWS holds numbers of four bytes, row by row. The program loads the bundle LOADS times, prints what that took, and
/// answers a line `BATCH PASSES` with the nanoseconds a row of each pass over the rows, in runs of BATCH, and a line
/// `answers` with the first output of every row.
@main
struct TreeTimer {
  static let rowsMax = 1024

  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count == 4, let loads = Int(arguments[3]), loads > 0 else {
      throw ServingError(.invalidArgument, "expected BUNDLE ROWS LOADS, found \(arguments.dropFirst())")
    }
    var milliseconds: [Double] = []
    var model: CompiledModel?
    for _ in 0..<loads {
      model = nil
      let clock = ContinuousClock()
      let taken = try clock.measure { model = try load(arguments[1]) }
      milliseconds.append(1e3 * Double(taken.components.seconds) + Double(taken.components.attoseconds) / 1e15)
    }
    guard let model else { return }
    let timer = try PassTimer(model, rows: try Data(contentsOf: URL(fileURLWithPath: arguments[2])))
    try print(Report(milliseconds, model))
    while let line = readLine() {
      let words = line.split(separator: " ").compactMap { Int($0) }
      if words.count == 2 {
        try print((0..<words[1]).map { _ in timer.pass(batch: words[0]) })
      } else {
        try print(timer.answers())
      }
    }
  }

  /// What a server does with a file before its golden samples, the choice among instruction sets left out.
  private static func load(_ path: String) throws -> CompiledModel {
    let bundle = try VerifiedBundle(
      try BundleFile.open(path: path), trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
    var options = PlanOptions()
    options.rowsMax = rowsMax
    return try CompiledModel(try bundle.decode().definition, options: options)
  }

  private static func print(_ value: some Encodable) throws {
    FileHandle.standardOutput.write(try JSONEncoder().encode(value) + Data("\n".utf8))
  }
}

/// What loading took and made.
struct Report: Encodable {
  let milliseconds: [Double]
  let isa: String
  let kernel: String
  let packedBytes: Int
  let scratchBytes: Int

  init(_ milliseconds: [Double], _ model: CompiledModel) {
    self.milliseconds = milliseconds
    isa = model.plan.isa.rawValue
    kernel = model.plan.steps.map(\.kernel).joined(separator: ", ")
    packedBytes = model.plan.residentBytes
    scratchBytes = model.plan.workspaceBytes
  }
}

/// Bound rows, and a workspace to run them in.
final class PassTimer {
  private let plan: Plan
  private let workspace: Workspace
  private let bound: UnsafeMutableRawBufferPointer
  private let rows: Int

  init(_ model: CompiledModel, rows data: Data) throws {
    plan = model.plan
    workspace = try Workspace(plan)
    let columns = model.definition.schema.features.count
    let numbers = data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    rows = numbers.count / columns
    guard rows > 0, numbers.count == rows * columns else {
      throw ServingError(.invalidArgument, "expected rows of \(columns) numbers, found \(numbers.count) numbers")
    }
    bound = .allocate(byteCount: rows * plan.inputItemBytes, alignment: 64)
    for row in 0..<rows {
      let cells = numbers[row * columns..<(row + 1) * columns].map { $0.isNaN ? Cell.missing : .number(Double($0)) }
      try model.binder.bind(cells, row: row, into: bound.baseAddress! + row * plan.inputItemBytes)
    }
  }

  deinit { bound.deallocate() }

  /// Nanoseconds a row. A run includes the copy of its rows into the workspace, where a binder would write them.
  func pass(batch: Int) -> Double {
    let whole = rows / batch * batch
    let taken = ContinuousClock().measure {
      for first in stride(from: 0, to: whole, by: batch) { run(first, batch) }
    }
    return (1e9 * Double(taken.components.seconds) + Double(taken.components.attoseconds) / 1e9) / Double(whole)
  }

  func answers() -> [Float] {
    (0..<rows).map { row in
      run(row, 1)
      return workspace.output(0)[0]
    }
  }

  private func run(_ first: Int, _ count: Int) {
    let bytes = plan.inputItemBytes
    workspace.input.copyMemory(from: bound.baseAddress! + first * bytes, byteCount: count * bytes)
    plan.run(workspace, rows: count)
  }
}
