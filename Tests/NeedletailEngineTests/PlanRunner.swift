import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport

extension Plan {
  /// Scratch, in a process that has memory.
  func workspace() -> Workspace {
    do { return try Workspace(self) } catch { fatalError("\(error)") }
  }

  /// All outputs for bound rows, in one run.
  func outputs(of rows: [[Float]]) -> [[Float]] {
    let workspace = workspace()
    for (row, cells) in rows.enumerated() { workspace.fill(row: row, with: cells) }
    run(workspace, rows: rows.count)
    return outputs.indices.map { index in
      Array(UnsafeBufferPointer(start: workspace.output(index), count: rows.count * outputs[index].columns))
    }
  }

  /// - Parameter sharedPart: see ``PlanOptions/sharedPartNanosecondsMin``; a small one shares layers on any machine.
  convenience init(
    _ definition: ModelDefinition, isa: InstructionSet? = nil, rowsMax: Int = 64, sharedPart: Int? = nil
  ) throws {
    var options = PlanOptions()
    options.isa = isa
    options.rowsMax = rowsMax
    options.sharedPartNanosecondsMin = sharedPart
    try self.init(definition.graph, options: options)
  }
}

extension Workspace {
  func fill(row: Int, with cells: [Float]) {
    (input + 4 * row * cells.count).copyMemory(from: cells, byteCount: 4 * cells.count)
  }
}

func randomRows(_ count: Int, columns: Int, seed: UInt64) -> [[Float]] {
  var random = SplitMix64(seed: seed)
  return (0..<count).map { _ in (0..<columns).map { _ in random.nextFloat() * 3 } }
}

/// Bit patterns: NaN equals itself, −0 differs from 0.
func bits(_ values: some Sequence<Float>) -> [UInt32] { values.map(\.bitPattern) }
