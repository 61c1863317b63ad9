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
