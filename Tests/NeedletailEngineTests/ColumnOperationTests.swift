import Foundation
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// Derived columns, lookups and curves against plain loops, and against numbers of scikit-learn and SciPy.
@Suite struct ColumnOperationTests {
  private func answers(
    _ operation: any GraphOperation, _ element: ValueType.Element, columns: Int, writing: Int, _ rows: [[Double]]
  ) throws -> (found: [[Float]], reference: [[Double]]) {
    let node = try OneNode(
      operation, inputs: [ValueType(element, [columns])], output: ValueType(element, [writing]))
    let all = stride(from: 0, to: rows.count, by: 64).flatMap {
      node.answers(Array(rows[$0..<min($0 + 64, rows.count)]))
    }
    let found = rows.indices.map { Array(all[$0 * writing..<($0 + 1) * writing]) }
    return (found, rows.map { operation.reference([$0], node.graph.context(of: 2))[0] })
  }

  @Test(arguments: [ValueType.Element.float32, .float64])
  func derivedColumnsStandBehindTheirOperands(element: ValueType.Element) throws {
    let operation = DerivedColumns(derivations: [
      .init(.missing, of: [0]), .init(.product, of: [1, 2]), .init(.product, of: [1, 1, 2]),
      .init(.cross, of: [1, 2], buckets: 100), .init(.cross, of: [2, 1], buckets: 7),
    ])
    let rows: [[Double]] = [[.nan, 2, 5], [0, -3, 1.5], [1, 0, 0]]
    let (found, reference) = try answers(operation, element, columns: 3, writing: 8, rows)
    #expect(found[0][0].isNaN && Array(found[0][1...5]) == [2, 5, 1, 10, 20])
    #expect(Array(found[1][..<6]) == [0, -3, 1.5, 0, -4.5, 13.5])
    for (row, expected) in zip(found, reference) {
      #expect(bits(row) == bits(expected.map { Float($0) }))
      #expect(row[6] >= 0 && row[6] < 100 && row[7] >= 0 && row[7] < 7)
    }
    // Where one operand is no code, the other still decides.
    #expect(DerivedColumns.bucket(of: [-1, 3], among: 1000) != DerivedColumns.bucket(of: [-1, 4], among: 1000))
    #expect(DerivedColumns.bucket(of: [.nan, 3], among: 1000) == DerivedColumns.bucket(of: [-1, 3], among: 1000))
  }

  @Test func textsFallIntoTheBucketsOfScikitLearn() {
    // sklearn: FeatureHasher(1024, input_type="string", alternate_sign=False).transform([[text]]).indices[0]
    let expected = [
      ("a", 434), ("ab", 161), ("abc", 6), ("abcd", 874), ("abcde", 266), ("café", 776), ("Köln", 507), ("1", 877),
      ("true", 882), ("New York, NY", 301), ("-20", 622), ("ÿÿÿÿÿÿÿÿÿ", 298), ("漢字", 11),
    ]
    for (text, bucket) in expected { #expect(TextBuckets.bucket(of: text, among: 1024) == bucket, "\(text)") }
    #expect(TextBuckets.bucket(of: " caf\u{65}\u{301} ", among: 1024) == TextBuckets.bucket(of: "café", among: 1024))
    #expect(TextBuckets.bucket(of: "1.0", among: 1024) == TextBuckets.bucket(of: "1", among: 1024))
  }

  @Test(arguments: [ValueType.Element.float32, .float64])
  func aLookupWritesTheRowOfTheCode(element: ValueType.Element) throws {
    let operation = Lookup(tables: [
      nil, .init(width: 2, values: [10, 11, 20, 21, 30, 31]), .init(width: 1, values: [7]),
    ])
    let rows: [[Double]] = [[5, 0, 0], [6, 1, 1], [7, 2, -1], [8, -1, 0], [9, .nan, .nan], [1, 0.5, 3]]
    let (found, reference) = try answers(operation, element, columns: 3, writing: 4, rows)
    #expect(
      found == [
        [5, 10, 11, 7], [6, 20, 21, 7], [7, 30, 31, 7], [8, 30, 31, 7], [9, 30, 31, 7], [1, 30, 31, 7],
      ])
    for (row, expected) in zip(found, reference) { #expect(bits(row) == bits(expected.map { Float($0) })) }
  }

  @Test(arguments: [ValueType.Element.float32, .float64])
  func curvesAreThoseOfTheirFormulas(element: ValueType.Element) throws {
    let knots: [Double] = [-3, -1, 0, 0, 0, 1, 2.5, 8, 20, 20]
    let curves: [Curves.Curve] = [
      .none, .logarithm, .yeoJohnson(0), .yeoJohnson(2), .yeoJohnson(0.37), .yeoJohnson(-4), .yeoJohnson(1),
      .quantiles(knots, isNormal: false), .quantiles(knots, isNormal: true),
    ]
    let operation = Curves(curves: curves)
    var random = SplitMix64(seed: 4)
    var numbers = (0..<300).map { _ in Double(random.nextFloat() * 30) }
    numbers += [0, -0.0, 1, -1, 1e-9, -1e-9, 1e-30, 1e6, -1e6, 3e38, -3e38, 20, -3, 2.5, .nan]
    numbers = numbers.map { Double(Float($0)) }
    let rows = numbers.map { [Double](repeating: $0, count: curves.count) }
    let (found, reference) = try answers(operation, element, columns: curves.count, writing: curves.count, rows)
    for (row, expected) in zip(found, reference) {
      for (column, number) in row.enumerated() {
        let exact = expected[column]
        if exact.isNaN {
          #expect(number.isNaN)
        } else {
          #expect(
            abs(Double(number) - exact) <= 1e-6 * max(abs(exact), column > 6 ? 1 : 1e-30),
            "curve \(column) at \(row[0]): \(number), expected \(exact)")
        }
      }
    }
    // scipy: stats.yeojohnson([1.5, -0.4], 0.37), and stats.norm.ppf of the shares.
    let powers = Curves.Curve.yeoJohnson(0.37).values(at: [1.5, -0.4])
    #expect(abs(powers[0] - 1.09076228) < 1e-8 && abs(powers[1] + 0.4482013) < 1e-7)
  }

  @Test func aCurveIsTheSameInFP64HoweverSmallTheNumber() {
    for size in [1e-300, 1e-20, 1e-9, 0.1, 0.5, 3, 1e5, 1e30] {
      let found = Curves.Curve.logarithm.values(at: [size, -size])
      #expect(abs(found[0] - log1p(size)) <= 4e-16 * log1p(size) && found[1] == -found[0])
    }
  }

  @Test func whatTheOperationsCannotComputeIsRefused() throws {
    let type = ValueType(.float64, [2])
    func fault(_ operation: any GraphOperation, writing: Int) -> String {
      do {
        _ = try OneNode(operation, inputs: [type], output: ValueType(.float64, [writing]))
        return "accepted"
      } catch { return (error as? PlanError)?.message ?? "\(error)" }
    }
    let cases: [(any GraphOperation, Int, String)] = [
      (DerivedColumns(derivations: []), 2, "expected a derived column, found none"),
      (DerivedColumns(derivations: [.init(.product, of: [])]), 3, "expected 1 to 8 operands, found 0"),
      (DerivedColumns(derivations: [.init(.missing, of: [0, 1])]), 3, "expected 1 to 1 operands, found 2"),
      (DerivedColumns(derivations: [.init(.product, of: [2])]), 3, "expected operands 0 to 1, found 2"),
      (DerivedColumns(derivations: [.init(.cross, of: [0, 1])]), 3, "expected 1 to 1048576 buckets, found 0"),
      (DerivedColumns(derivations: [.init(.product, of: [0], buckets: 4)]), 3, "expected 0 to 0 buckets, found 4"),
      (Lookup(tables: [nil]), 2, "expected 2 columns, found 1"),
      (Lookup(tables: [nil, .init(width: 2, values: [1, 2, 3])]), 3, "expected whole rows, found 3 numbers"),
      (Lookup(tables: [nil, .init(width: 1, values: [.infinity])]), 2, "expected finite numbers, found inf"),
      (Curves(curves: [.none]), 2, "expected 2 curves, found 1"),
      (Curves(curves: [.none, .yeoJohnson(.nan)]), 2, "expected an exponent within ±100, found nan"),
      (Curves(curves: [.none, .quantiles([1], isNormal: true)]), 2, "expected 2 to 65536 knots, found 1"),
      (Curves(curves: [.none, .quantiles([1, .nan], isNormal: true)]), 2, "expected ascending knots"),
      (Curves(curves: [.quantiles([2, 1], isNormal: false), .none]), 2, "expected ascending knots"),
    ]
    for (operation, writing, words) in cases {
      let message = fault(operation, writing: writing)
      #expect(message.contains(words), "\(message)")
    }
  }

  @Test func hashedTextsBindBehindTheCategories() throws {
    let schema = FeatureSchema(
      features: [
        Feature(
          name: "city", kind: .categorical(categories: ["Bonn", "Ulm"], unknown: .hash), missing: .refuse, buckets: 8),
        Feature(name: "free", kind: .categorical(categories: [], unknown: .hash), missing: .impute, buckets: 50),
      ], target: "t", rules: ValueRules(missing: ["NA"]))
    let binder = try FeatureBinder(schema)
    func bind(_ cells: [Cell]) throws -> [Float] {
      var row: [Float] = [0, 0]
      try row.withUnsafeMutableBytes { row in try binder.bind(cells, into: row.baseAddress!) }
      return row
    }
    let expected = Float(2 + TextBuckets.bucket(of: "Köln", among: 8))
    #expect(try bind([.text("Ulm"), .text("x")]) == [1, Float(TextBuckets.bucket(of: "x", among: 50))])
    #expect(try bind([.text(" Ko\u{308}ln"), .text("y")])[0] == expected)
    #expect(try bind([.text("Bonn"), .text("NA")])[1].isNaN)
    let error = #expect(throws: ServingError.self) { try bind([.number(10), .text("x")]) }
    #expect(error?.message.contains("expected a whole number from 0 to 9") == true)
    for buckets in [0, -1, Limits.bucketsMax + 1] {
      var wrong = schema
      wrong.features[1].buckets = buckets
      #expect(throws: PlanError.self) { try FeatureBinder(wrong) }
    }
  }

  /// Numbers and two categories through impute, one-hot, scale and a layer.
  private func wide(_ element: ValueType.Element, widths: [Int], isOpen: Bool, activation: Dense.Activation)
    -> ModelGraph
  {
    var random = SplitMix64(seed: 12)
    let (columns, depth, outputs) = (widths.count, widths.reduce(0) { $0 + max($1, 1) }, 19)
    var affine = Affine(scaling: .standardise, offset: [], scale: [])
    for width in widths {
      affine.offset += [Float](repeating: width == 0 ? random.nextFloat() : 0, count: max(width, 1))
      affine.scale += [Float](repeating: width == 0 ? 1.5 : 1, count: max(width, 1))
    }
    return ModelGraph(
      task: .regression,
      values: [
        .init(name: "row", type: ValueType(element, [columns])),
        .init(name: "full", type: ValueType(element, [columns])),
        .init(name: "wide", type: ValueType(element, [depth])), .init(name: "scaled", columns: depth),
        .init(name: "y", columns: outputs),
      ],
      nodes: [
        Node(name: "impute", input: 0, output: 1, operation: Impute(fill: widths.map { _ in 1 })),
        Node(name: "one_hot", input: 1, output: 2, operation: OneHot(widths: widths)),
        Node(name: "scale", input: 2, output: 3, operation: affine),
        Node(name: "dense", input: 3, output: 4, operation: Dense(weights: 0, bias: 1, activation: activation)),
      ],
      // As an output the columns must be written, so that the layer stays apart.
      outputs: [.init(name: "y", value: 4, kind: .number)]
        + (isOpen ? [.init(name: "columns", value: 3, kind: .number)] : []),
      tensors: [
        WeightTensor(
          name: "w", shape: [outputs, depth],
          storage: .float32((0..<outputs * depth).map { _ in random.nextFloat() - 0.5 })),
        WeightTensor(name: "b", shape: [outputs], storage: .float32((0..<outputs).map { Float($0) / 8 })),
      ])
  }

  @Test(arguments: [ValueType.Element.float32, .float64], [Dense.Activation.identity, .relu, .tanh])
  func aLookedUpLayerHasTheBitsOfTheLayerWrittenOut(
    element: ValueType.Element, activation: Dense.Activation
  ) throws {
    let widths = [0, 3000, 0, 70, 0]
    var random = SplitMix64(seed: 3)
    let rows = (0..<40).map { row -> [Double] in
      [
        Double(random.nextFloat() * 9), row % 7 == 0 ? .nan : Double(random.next() % 3100), row % 5 == 0 ? .nan : 2.5,
        row % 3 == 0 ? -1 : Double(random.next() % 70), 0,
      ]
    }
    for isa in InstructionSet.supported {
      var options = PlanOptions()
      (options.isa, options.rowsMax) = (isa, 64)
      let answers = try [false, true].map { isOpen -> [Float] in
        let plan = try Plan(
          wide(element, widths: widths, isOpen: isOpen, activation: activation), options: options)
        #expect(plan.steps.contains { $0.kernel == "indicators" } == !isOpen)
        #expect(plan.steps.count == (isOpen ? 2 : 1))
        let workspace = plan.workspace()
        for (row, cells) in rows.enumerated() {
          for (column, cell) in cells.enumerated() {
            let place = row * widths.count + column
            if element == .float64 {
              workspace.input.storeBytes(of: cell, toByteOffset: 8 * place, as: Double.self)
            } else {
              workspace.input.storeBytes(of: Float(cell), toByteOffset: 4 * place, as: Float.self)
            }
          }
        }
        plan.run(workspace, rows: rows.count)
        return Array(UnsafeBufferPointer(start: workspace.output(0), count: rows.count * plan.outputs[0].columns))
      }
      #expect(bits(answers[0]) == bits(answers[1]), "\(isa)")
    }
  }
}
