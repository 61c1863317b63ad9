import CNeedletailTraining
import NeedletailCore
import Testing

@testable import NeedletailTraining

/// The loops below the trees, against the same in plain words.
@Suite struct BoostKernelTests {
  private func bounds(_ numbers: [Double], binsMax: Int, rowsMin: Int = 1) -> [Double] {
    var bounds = [Double](repeating: 0, count: 256)
    let count = nt_boost_bounds(numbers, numbers.count, binsMax, rowsMin, &bounds)
    return Array(bounds.prefix(count))
  }

  // MARK: bins

  @Test func sortsNumbersAsTheyCompare() {
    var random = RandomSource(seed: 1)
    for count in [0, 1, 2, 3, 1000, 5000] {
      var numbers = (0..<count).map { _ in random.normal() * 1e3 }
      if count > 100 {
        numbers[0...7] = [
          0, -0.0, .infinity, -.infinity, .leastNonzeroMagnitude, -.leastNonzeroMagnitude, 1e300, -1e300,
        ]
        for index in 100..<300 where index < count { numbers[index] = numbers[index].rounded() }
      }
      let expected = numbers.sorted()
      var spare = numbers
      nt_boost_sort(&numbers, &spare, count)
      #expect(numbers == expected)
    }
  }

  @Test func fewNumbersGetABinEachWithBoundsHalfWay() {
    #expect(bounds([1, 1, 2, 5], binsMax: 255) == [1.5, 3.5])
    #expect(bounds([7, 7, 7], binsMax: 255) == [])
    #expect(bounds([], binsMax: 255) == [])
    #expect(bounds([1, 2, 3], binsMax: 2).count == 1)
  }

  @Test func neighboursWithoutANumberBetweenThemAreStillToldApart() {
    let next = (1.0).nextUp
    #expect(bounds([1, next], binsMax: 255) == [1])
    let huge = [-Double.greatestFiniteMagnitude, .greatestFiniteMagnitude]
    #expect(bounds(huge, binsMax: 255) == [0])
  }

  @Test func binsHoldEquallyManyOfManyNumbers() {
    let numbers = (0..<1000).map { Double($0) }
    #expect(bounds(numbers, binsMax: 10) == (1..<10).map { Double($0) * 100 - 0.5 })
  }

  @Test func binsHoldAsManyRowsAsAskedFor() {
    #expect(bounds([1, 1, 2, 5, 6, 7, 8], binsMax: 255, rowsMin: 3) == [3.5, 7.5])
    #expect(bounds([1, 1, 2, 5, 6, 7], binsMax: 255, rowsMin: 3) == [3.5])
    #expect(bounds([1, 1, 1, 2], binsMax: 255, rowsMin: 3) == [1.5])
    #expect(bounds([1, 2], binsMax: 255, rowsMin: 3) == [])
  }

  @Test func aFrequentNumberHasABinOfItsOwn() {
    let numbers =
      (1...300).map { -Double($0) }.reversed() + [Double](repeating: 0, count: 400) + (1...300).map { Double($0) }
    let found = bounds(numbers, binsMax: 10)
    #expect(found.contains(-0.5) && found.contains(0.5))
    #expect(found.count == 9)
  }

  @Test(arguments: [0, 1, 2, 3, 7, 100, 254])
  func theBinOfANumberIsTheCountOfBoundsBelowIt(count: Int) {
    var random = RandomSource(seed: UInt64(count))
    let bounds = (0..<count).map { _ in random.normal() }.sorted()
    var numbers = (0..<9000).map { _ in random.normal() * 2 } + bounds + bounds.map(\.nextUp)
    numbers += [.infinity, -.infinity, .nan]
    var bins = [UInt8](repeating: 0, count: numbers.count)
    var job = nt_boost_bin_job(
      numbers: nil, rows: numbers.count, bins: nil, bounds: nil, bound_count: count, bin_of_code: nil,
      code_count: 0, other_bin: 0, missing_bin: 255)
    numbers.withUnsafeBufferPointer { numbers in
      bounds.withUnsafeBufferPointer { bounds in
        bins.withUnsafeMutableBufferPointer { bins in
          job.numbers = numbers.baseAddress
          job.bounds = bounds.baseAddress
          job.bins = bins.baseAddress
          for chunk in 0..<Boosting.chunks(numbers.count) { nt_boost_bin_task(&job, chunk) }
        }
      }
    }
    for (row, number) in numbers.enumerated() {
      let expected = number.isNaN ? 255 : bounds.count { $0 < number }
      #expect(Int(bins[row]) == expected, "\(number)")
    }
  }

  // MARK: histograms and splits

  /// Rows of a table in plain arrays, with whole gradients, so that nothing is rounded.
  private struct Sample {
    var features: [nt_boost_feature] = []
    /// By feature, then by row.
    var bins: [[UInt8]] = []
    var gradients: [Int] = []
    var hessians: [Int] = []
    var rowBits = NT_BOOST_COARSE

    var rowCount: Int { gradients.count }

    init(rows: Int, features: Int, bins binCount: Int, isCategorical: Bool = false, gaps: Int = 5, seed: UInt64) {
      var random = RandomSource(seed: seed)
      gradients = (0..<rows).map { _ in random.index(below: 2001) - 1000 }
      hessians = (0..<rows).map { _ in 1 + random.index(below: 100) }
      var first: UInt32 = 0
      for _ in 0..<features {
        self.features.append(
          nt_boost_feature(
            first_bin: first, bins: UInt16(binCount), is_categorical: isCategorical, direction: 0,
            column: UInt32(self.features.count), common_bin: 0, first_byte: 0))
        first += UInt32(binCount + 1 + (isCategorical ? 1 : 0))
        self.bins.append(
          (0..<rows).map { _ in UInt8(random.index(below: gaps) == 1 ? binCount : random.index(below: binCount)) })
      }
    }

    var words: [UInt64] {
      zip(gradients, hessians).map {
        UInt64(bitPattern: Int64($0 << (Int(rowBits.rawValue) + 25))) &+ UInt64($1 << rowBits.rawValue) &+ 1
      }
    }

    func sums(_ rows: [Int]) -> nt_boost_sums {
      nt_boost_sums(
        gradient: Int64(rows.reduce(0) { $0 + gradients[$1] }),
        weight: UInt64(rows.reduce(0) { $0 + hessians[$1] }) << 26 + UInt64(rows.count))
    }

    /// Runs the search on all rows, and returns histogram and best splits.
    func search(_ rules: nt_boost_rules, rows: [UInt32]? = nil) -> (
      histogram: [nt_boost_sums], splits: [nt_boost_split]
    ) {
      let lanes = min(features.count, 16)
      var stride = 1
      while stride < lanes { stride *= 2 }
      let groups = (features.count + lanes - 1) / lanes
      var bytes = [UInt8](repeating: 0, count: groups * rowCount * stride)
      for feature in features.indices {
        let first = feature / lanes * rowCount * stride + feature % lanes
        for row in 0..<rowCount { bytes[first + row * stride] = bins[feature][row] }
      }
      let last = features[features.count - 1]
      let all = rows ?? (0..<UInt32(rowCount)).map { $0 }
      var histogram = [nt_boost_sums](repeating: nt_boost_sums(), count: Int(last.first_bin) + Int(last.bins) + 2)
      var splits = [nt_boost_split](repeating: nt_boost_split(), count: features.count * 2)
      let used = [UInt8](repeating: 1, count: features.count)
      // Every feature has a column of its own.
      let places = (0...UInt32(features.count)).map { $0 }
      let (words, totals) = (self.words, sums(all.map { Int($0) }))
      histogram.withUnsafeMutableBufferPointer { histogram in
        splits.withUnsafeMutableBufferPointer { splits in
          bytes.withUnsafeBufferPointer { bytes in
            features.withUnsafeBufferPointer { features in
              var table = nt_boost_table(
                bins: bytes.baseAddress, rows: rowCount, stride: stride, lanes: lanes, columns: features.count,
                features: features.count, feature: features.baseAddress, by_column: nil,
                first_of_column: nil)
              places.withUnsafeBufferPointer { places in
                (table.by_column, table.first_of_column) = (places.baseAddress, places.baseAddress)
                words.withUnsafeBufferPointer { words in
                  all.withUnsafeBufferPointer { all in
                    used.withUnsafeBufferPointer { used in
                      withUnsafePointer(to: &table) { table in
                        let node = nt_boost_node(
                          histogram: histogram.baseAddress, totals: totals, value_min: -.infinity, value_max: .infinity,
                          is_used: used.baseAddress, is_searched: true)
                        var job = nt_boost_search_job(
                          table: table, words: words.baseAddress, row_bits: rowBits, rows: all.baseAddress,
                          row_count: all.count,
                          built: node,
                          sibling: nt_boost_node(), rules: rules, splits: splits.baseAddress)
                        for group in 0..<groups { nt_boost_search_task(&job, group) }
                      }
                    }
                  }
                }
              }
            }
          }
        }
      }
      return (histogram, Array(splits.prefix(features.count)))
    }
  }

  private func rules(rowsMin: UInt32 = 1, weightMin: Double = 0, l1: Double = 0, l2: Double = 0) -> nt_boost_rules {
    nt_boost_rules(
      gradient_unit: 1, hessian_unit: 1, l1: l1, l2: l2, gain_min: 0, rows_min: rowsMin, weight_min: weightMin,
      category_smoothing: 0, category_l2: 0, categories_max: 254)
  }

  @Test(arguments: 1...17, [NT_BOOST_FINE, NT_BOOST_COARSE])
  func aHistogramHoldsTheSumsOfEachBin(features: Int, rowBits: nt_boost_row_bits) {
    // More rows than a block, whose sums are packed into one word.
    var sample = Sample(rows: 9001, features: features, bins: 30, seed: UInt64(features))
    sample.rowBits = rowBits
    let rows = (0..<9001).filter { $0 % 3 != 1 }
    let (histogram, _) = sample.search(rules(), rows: rows.map { UInt32($0) })
    for feature in 0..<features {
      for bin in 0...30 {
        let expected = sample.sums(rows.filter { Int(sample.bins[feature][$0]) == bin })
        let found = histogram[Int(sample.features[feature].first_bin) + bin]
        #expect(found.gradient == expected.gradient && found.weight == expected.weight)
      }
    }
  }

  @Test func theLargestGradientsOfAWholeBlockDoNotCarry() {
    for (rowBits, rows, gradient, hessian) in [
      (NT_BOOST_COARSE, 4096, 8191, 4096), (NT_BOOST_FINE, 256, 2_097_151, 65_536),
    ] {
      var sample = Sample(rows: rows, features: 1, bins: 1, gaps: 1, seed: 1)
      sample.rowBits = rowBits
      for sign in [1, -1] {
        sample.gradients = [Int](repeating: sign * gradient, count: rows)
        sample.hessians = [Int](repeating: hessian, count: rows)
        let (histogram, _) = sample.search(rules())
        #expect(histogram[0].gradient == Int64(sign * gradient * rows))
        #expect(histogram[0].weight == UInt64(hessian * rows << 26 + rows))
      }
      #expect(nt_boost_gradient_max(rowBits) == Double(gradient) && nt_boost_hessian_max(rowBits) == Double(hessian))
    }
  }

  /// Gain of sending some rows left, in plain fp64; nil where a side is too small.
  private func gain(_ sample: Sample, _ isLeft: [Bool], _ rules: nt_boost_rules) -> Double? {
    func score(_ rows: [Int]) -> Double {
      let g = Double(rows.reduce(0) { $0 + sample.gradients[$1] })
      let h = Double(rows.reduce(0) { $0 + sample.hessians[$1] })
      let size = max(abs(g) - rules.l1, 0)
      return size * size / (h + rules.l2)
    }
    let left = isLeft.indices.filter { isLeft[$0] }
    let right = isLeft.indices.filter { !isLeft[$0] }
    for side in [left, right] {
      let weight = side.reduce(0) { $0 + sample.hessians[$1] }
      guard side.count >= rules.rows_min, Double(weight) >= rules.weight_min else { return nil }
    }
    return score(left) + score(right) - score(left + right)
  }

  private func members(_ split: nt_boost_split) -> [Bool] {
    let words = [split.members.0, split.members.1, split.members.2, split.members.3]
    return (0..<256).map { words[$0 / 64] >> UInt64($0 % 64) & 1 == 1 }
  }

  @Test(arguments: 0..<40)
  func theBestSplitOfNumbersIsTheBestOfAllThresholdsAndDirections(seed: Int) throws {
    let sample = Sample(rows: 40, features: 3, bins: 12, gaps: seed % 2 == 0 ? 4 : 1000, seed: UInt64(seed))
    let rules = rules(
      rowsMin: UInt32(1 + seed % 6), weightMin: seed % 3 == 0 ? 300 : 0, l1: seed % 5 == 0 ? 500 : 0,
      l2: seed % 4 == 0 ? 50 : 0)
    for (feature, split) in sample.search(rules).splits.enumerated() {
      var best = 0.0
      for threshold in 0..<12 {
        for missingLeft in [false, true] {
          let isLeft = sample.bins[feature].map { $0 == 12 ? missingLeft : $0 <= threshold }
          best = max(best, gain(sample, isLeft, rules) ?? 0)
        }
      }
      // Rounded gradients could gain this much by chance.
      let noise = 8.0 * 40 / (Double(sample.hessians.reduce(0, +)) + rules.l2)
      guard best > noise else { continue }
      #expect(abs(split.gain - best) <= 1e-9 * best)
      let isMember = members(split)
      let found = sample.bins[feature].map { isMember[Int($0)] }
      #expect(abs(try #require(gain(sample, found, rules)) - best) <= 1e-9 * best)
      let left = sample.sums(found.indices.filter { found[$0] })
      #expect(split.left.gradient == left.gradient && split.left.weight == left.weight)
    }
  }

  @Test(arguments: 0..<40)
  func theBestSplitOfCategoriesIsTheBestOfAllSets(seed: Int) throws {
    let categories = 2 + seed % 6
    let sample = Sample(
      rows: 30, features: 2, bins: categories, isCategorical: true, gaps: seed % 2 == 0 ? 4 : 1000,
      seed: UInt64(seed) + 100)
    for (feature, split) in sample.search(rules()).splits.enumerated() {
      var best = 0.0
      for set in 0..<(1 << categories) {
        for missingLeft in [false, true] {
          let isLeft = sample.bins[feature].map { Int($0) == categories ? missingLeft : set >> Int($0) & 1 == 1 }
          best = max(best, gain(sample, isLeft, rules()) ?? 0)
        }
      }
      let isMember = members(split)
      let found = sample.bins[feature].map { isMember[Int($0)] }
      // Fisher's order finds the best set where nothing is missing; beside missing values it may miss a little.
      #expect(abs(try #require(gain(sample, found, rules())) - split.gain) <= 1e-9 * best)
      #expect(split.gain <= best * (1 + 1e-9))
      if !sample.bins[feature].contains(UInt8(categories)) { #expect(abs(split.gain - best) <= 1e-9 * best) }
    }
  }

  @Test func rowsKeepTheirOrderOnEitherSide() {
    var random = RandomSource(seed: 3)
    let count = 20_000
    let bins = (0..<count).map { _ in UInt8(random.index(below: 256)) }
    var rows = (0..<count).map { UInt32($0) }
    var (left, right) = (rows, rows)
    var counts = [Int](repeating: 0, count: Boosting.chunks(count))
    let goesLeft = (0..<256).map { UInt8($0 % 3 == 0 ? 1 : 0) }
    bins.withUnsafeBufferPointer { bins in
      goesLeft.withUnsafeBufferPointer { goesLeft in
        rows.withUnsafeMutableBufferPointer { rows in
          left.withUnsafeMutableBufferPointer { left in
            right.withUnsafeMutableBufferPointer { right in
              counts.withUnsafeMutableBufferPointer { counts in
                let job = nt_boost_partition_job(
                  bins: bins.baseAddress, goes_left: goesLeft.baseAddress, rows: rows.baseAddress,
                  row_count: rows.count, left: left.baseAddress, right: right.baseAddress,
                  left_counts: counts.baseAddress)
                Boosting.run(job, parts: counts.count, threads: 2, nt_boost_partition_task)
                Boosting.run(job, parts: counts.count, threads: 2, nt_boost_gather_task)
              }
            }
          }
        }
      }
    }
    let all = (0..<count).map { UInt32($0) }
    let expected = all.filter { bins[Int($0)] % 3 == 0 } + all.filter { bins[Int($0)] % 3 != 0 }
    #expect(rows == expected)
  }

  @Test func roundingIsUnbiasedAndKeepsTheLargest() {
    let count = 20_000
    let gradients = (0..<count).map { $0 == 0 ? Float(-1) : 0.000_03 }
    let hessians = (0..<count).map { $0 == 0 ? Float(0.25) : 0.000_01 }
    var words = [UInt64](repeating: 0, count: count)
    let units = (1 / nt_boost_gradient_max(NT_BOOST_COARSE), 0.25 / nt_boost_hessian_max(NT_BOOST_COARSE))
    gradients.withUnsafeBufferPointer { gradients in
      hessians.withUnsafeBufferPointer { hessians in
        words.withUnsafeMutableBufferPointer { words in
          let job = nt_boost_round_job(
            gradients: gradients.baseAddress, hessians: hessians.baseAddress, rows: count, row_bits: NT_BOOST_COARSE,
            gradient_unit: units.0,
            hessian_unit: units.1, seed: 9, words: words.baseAddress)
          Boosting.run(job, parts: Boosting.chunks(count), threads: 2, nt_boost_round_task)
        }
      }
    }
    #expect(Int64(bitPattern: words[0]) >> 38 == -8191)
    #expect(words[0] >> 13 & 0x1ff_ffff == 4096)
    // A quarter of a unit each: their sum is right though each of them is 0 or 1.
    let sum = words.dropFirst().reduce(0.0) { $0 + Double(Int64(bitPattern: $1) >> 38) } * units.0
    #expect(abs(sum / (0.000_03 * Double(count - 1)) - 1) < 0.05)
    let weight = words.dropFirst().reduce(0.0) { $0 + Double($1 >> 13 & 0x1ff_ffff) } * units.1
    #expect(abs(weight / (0.000_01 * Double(count - 1)) - 1) < 0.05)
  }
}
