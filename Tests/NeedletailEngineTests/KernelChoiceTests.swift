import CNeedletailKernels
import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailEngine

@Suite("Choice of kernels") struct KernelChoiceTests {
  @Test func theFastestWayIsTakenUnlessTheOneInUseIsNearlyAsFast() {
    var choice = WayChoice()
    choice.decide([10, 9.6, 12])
    #expect(choice.way == 0 && choice.microseconds == 10)
    choice.decide([10, 9.4, 12])
    #expect(choice.way == 1 && choice.microseconds == 9.4)
    choice.decide([9.3, 9.4, 12])
    #expect(choice.way == 1)
    choice.decide([20, 30, 12])
    #expect(choice.way == 2 && choice.microseconds == 12)
    choice.decide([])
    #expect(choice.way == 2, "nothing was timed")
  }

  private static let first: nt_s8_gemm = { _ in }
  private static let second: nt_s8_gemm = { _ in _ = 1 }

  /// A layer of two ways that compute nothing, and which of them each bucket uses.
  private func withLayer(_ body: (KernelChoice, () -> [Int]) throws -> Void) rethrows {
    var kernels = nt_s8_kernels()
    kernels.gemm = Self.first
    kernels.ways = (Self.first, Self.second, nil)
    try withUnsafePointer(to: &kernels) { kernels in
      var layer = nt_dense_s8()
      layer.kernels = kernels
      (layer.columns, layer.depth) = (64, 64)
      try withUnsafeMutablePointer(to: &layer) { layer in
        try body(KernelChoice([.int8(layer)])) {
          let gemms = layer.pointee.gemms
          let all = [gemms.0, gemms.1, gemms.2, gemms.3, gemms.4, gemms.5, gemms.6, gemms.7]
          return all.map { $0 == nil ? 0 : address($0) == address(Self.first) ? 1 : 2 }
        }
      }
    }
  }

  private func address(_ function: nt_s8_gemm?) -> UnsafeRawPointer? {
    function.map { unsafeBitCast($0, to: UnsafeRawPointer.self) }
  }

  @Test func aFirstMeasurementThatOtherWorkSpoiledIsCorrectedByALaterOne() throws {
    try withLayer { (choice, used) throws in
      // The second way is the faster one, but met other work when it was timed first.
      var isBusy = true
      func time(_ layer: ChoosableLayer, _ way: Int, _ rows: Int) -> Double {
        (way == 0 ? 3.0 : isBusy ? 8.0 : 1.0) * Double(rows)
      }
      let first = try choice.decide(rowsMax: 256, time)
      #expect(first == 0)
      #expect(used() == [0, 0, 0, 1, 1, 1, 1, 1])
      isBusy = false
      let second = try choice.decide(rowsMax: 256, time)
      #expect(second == 3)
      #expect(used() == [0, 0, 0, 2, 2, 2, 2, 2])
      let third = try choice.decide(rowsMax: 256, time)
      #expect(third == 0, "nothing is new")
    }
  }

  @Test func eachNumberOfRowsHasItsOwnWay() throws {
    try withLayer { (choice, used) throws in
      try choice.decide(rowsMax: 20) { _, way, rows in
        #expect(rows <= 20)
        return (rows == 12) == (way == 0) ? 1 : 2
      }
      #expect(used() == [0, 0, 0, 1, 2, 0, 0, 0], "no run has 32 rows")
    }
  }

  @Test(arguments: InstructionSet.supported)
  func everyWayGivesTheSameBits(isa: InstructionSet) throws {
    let plan = try Plan(ModelFixtures.mlp(widths: [70, 130, 50, 3], precision: .int8, seed: 6), isa: isa)
    for rows in [1, 7, 8, 15, 31, 64] {
      let inputs = randomRows(rows, columns: 70, seed: 7)
      let alone = inputs.flatMap { plan.outputs(of: [$0])[0] }
      for way in 0..<Int(NT_S8_WAYS_MAX) {
        try plan.kernelChoice.decide(rowsMax: 64) { layer, timed, _ in
          timed == min(way, layer.wayCount - 1) ? 1 : 2
        }
        #expect(bits(plan.outputs(of: inputs)[0]) == bits(alone), "\(isa), way \(way), \(rows) rows")
      }
    }
  }

  @Test func aPlanOfOneWayHasNothingToChoose() throws {
    let scalar = try Plan(ModelFixtures.mlp(widths: [20, 30, 3], precision: .int8), isa: .scalar)
    #expect(!scalar.hasKernelChoices)
    let float32 = try Plan(ModelFixtures.mlp(widths: [20, 30, 3]))
    #expect(!float32.hasKernelChoices)
    let changed = try float32.chooseKernels()
    #expect(changed == 0)
  }
}
