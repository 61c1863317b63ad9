import CNeedletailTraining
import NeedletailCore
import Testing

@testable import NeedletailTraining

/// Sparse features in one column: nothing but time may change.
@Suite struct ColumnSharingTests {
  /// Forty columns of 0 and 1 of which one is 1 in each row, three that are seldom not 0 and then missing or any of
  /// many numbers, and two dense ones.
  private func inputs(rows: Int) throws -> FeatureColumns {
    var random = RandomSource(seed: 4)
    let kinds = (0..<rows).map { _ in random.index(below: 40) }
    var columns = (0..<40).map { kind in kinds.map { $0 == kind ? 1.0 : 0 } }
    for rare in 0..<3 {
      columns.append(kinds.map { $0 % 3 == rare && $0 < 12 ? random.normal() : 7 })
      for row in kinds.indices where kinds[row] == rare { columns[40 + rare][row] = .nan }
    }
    for _ in 0..<2 { columns.append(kinds.map { _ in random.normal() }) }
    let fit = TreeFit(
      columns: columns.enumerated().map { Table.Column(name: "x\($0)", values: .numbers($1)) },
      targets: kinds.map { Double($0) })
    return try fit.inputs(Array(0..<rows))
  }

  /// Three trees, one after the other, on gradients that depend on the columns.
  private func grow(on table: BinnedTable, rules: GrowthRules) -> [GrownTree] {
    var random = RandomSource(seed: 8)
    var noise = RandomSource(seed: 9)
    let bits = Int(table.rowBits.rawValue)
    let grower = TreeGrower(table, rules)
    return (0..<3).map { tree in
      let gradients = (0..<table.rowCount).map { row in
        Int(table.bytes(of: 44)[row]) / 8 + ((row * 7 + tree) % 11) + noise.index(below: 60) - 40
      }
      let words = gradients.map { UInt64(bitPattern: Int64($0 << (bits + 25))) &+ UInt64(3 << bits) &+ 1 }
      for row in 0..<table.rowCount { grower.rowList[row] = UInt32(row) }
      let (g, h) = (gradients.map { Float($0) }, gradients.map { _ in Float(3) })
      return words.withUnsafeBufferPointer { words in
        g.withUnsafeBufferPointer { g in
          h.withUnsafeBufferPointer { h in
            grower.grow(
              .init(
                words: words.baseAddress!, gradients: g.baseAddress!, hessians: h.baseAddress!, gradientUnit: 1,
                hessianUnit: 1, isUsed: [Bool](repeating: true, count: table.columns.count),
                rowCount: table.rowCount),
              &random)
          }
        }
      }
    }
  }

  @Test(arguments: [900, 40_000])
  func featuresThatNeverDifferTogetherShareAColumnAndTreesStayTheSame(rows: Int) throws {
    let inputs = try inputs(rows: rows)
    let bins = ColumnBins.learn(from: inputs, binsMax: 64, rowsMin: 1, seed: 1, threads: 2)
    let apart = BinnedTable(inputs, bins: bins, sharesColumns: false, threads: 2)
    let shared = BinnedTable(inputs, bins: bins, sharesColumns: true, threads: 2)
    #expect(apart.table.columns == 45)
    // One 1 a row: the forty fit one column. The other three hold numbers where these do, but never two at once.
    #expect(shared.table.columns == 4)
    var rules = GrowthRules()
    (rules.leavesMax, rules.rowsMin, rules.threads) = (40, 5, 2)
    for (found, expected) in zip(grow(on: shared, rules: rules), grow(on: apart, rules: rules)) {
      #expect(expected.steps.count > 20 && Set(expected.records.map(\.feature)).count > 5)
      #expect(found.records == expected.records)
      #expect(found.values == expected.values && found.counts == expected.counts)
    }
  }

  @Test func theBinsOfAStepOnASharedColumnAreThoseOfItsFeature() throws {
    let inputs = try inputs(rows: 900)
    let bins = ColumnBins.learn(from: inputs, binsMax: 64, rowsMin: 1, seed: 1, threads: 1)
    let apart = BinnedTable(inputs, bins: bins, sharesColumns: false, threads: 1)
    let shared = BinnedTable(inputs, bins: bins, sharesColumns: true, threads: 1)
    var random = RandomSource(seed: 2)
    for feature in bins.indices {
      let members = (random.next(), random.next(), random.next(), random.next())
      let step = nt_boost_step(column: UInt32(feature), left: -1, right: -2, members: members)
      func left(_ table: BinnedTable) -> [Bool] {
        let members = table.onBytes(step).members
        let words = [members.0, members.1, members.2, members.3]
        return (0..<900).map { row in
          let byte = Int(table.bytes(of: feature)[row])
          return words[byte >> 6] >> UInt64(byte & 63) & 1 == 1
        }
      }
      #expect(left(shared) == left(apart))
    }
  }
}
