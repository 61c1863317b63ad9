import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailEngine

@Suite struct InstructionSetTests {
  @Test func theScalarKernelsRunAnywhere() { #expect(InstructionSet.supported.contains(.scalar)) }

  @Test func theSelectedKernelsAreSupported() { #expect(InstructionSet.selected.isSupported) }

  @Test func unsupportedKernelsAreRefused() throws {
    let unsupported = InstructionSet.allCases.filter { !$0.isSupported }
    #expect(!unsupported.isEmpty, "no CPU is both x86 and ARM")
    for isa in unsupported {
      #expect(throws: PlanError.self) { try Plan(ModelFixtures.linearRegression(), isa: isa) }
      let error = #expect(throws: PlanError.self) { try InstructionSet.requested(isa.rawValue) }
      #expect(error?.message.contains("this CPU does not support \(isa.rawValue), expected one of scalar") == true)
    }
  }

  @Test func aRequestedInstructionSetMustExist() throws {
    #expect(try InstructionSet.requested("") == nil)
    for isa in InstructionSet.supported { #expect(try InstructionSet.requested(isa.rawValue) == isa) }
    let error = #expect(throws: PlanError.self) { try InstructionSet.requested("avx9") }
    #expect(error?.message.hasPrefix("NEEDLETAIL_ISA: expected one of scalar") == true)
    #expect(error?.message.hasSuffix("found avx9") == true)
  }
}

@Suite struct BLASTests {
  @Test(arguments: [false, true], [false, true])
  func sgemmAgreesWithThreeLoops(transposeA: Bool, transposeB: Bool) {
    BLAS.useOneThread()
    let (rows, columns, depth) = (5, 7, 3)
    var random = SplitMix64(seed: 1)
    let a = (0..<rows * depth).map { _ in random.nextFloat() }
    let b = (0..<depth * columns).map { _ in random.nextFloat() }
    let before = (0..<rows * columns).map { _ in random.nextFloat() }
    var c = before
    BLAS.sgemm(
      rows: rows, columns: columns, depth: depth, alpha: 2, a, transposeA: transposeA, b, transposeB: transposeB,
      beta: 0.5, into: &c)
    for row in 0..<rows {
      for column in 0..<columns {
        var sum: Float = 0
        for k in 0..<depth {
          sum +=
            a[transposeA ? k * rows + row : row * depth + k] * b[transposeB ? column * depth + k : k * columns + column]
        }
        let expected = 2 * sum + 0.5 * before[row * columns + column]
        #expect(abs(c[row * columns + column] - expected) < 1e-5)
      }
    }
  }
}
