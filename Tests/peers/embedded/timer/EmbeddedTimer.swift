import CNeedletailEmbedded
import NeedletailBundle
import NeedletailCore
import NeedletailEmbedded
import NeedletailEngine

/// Times a run of a bundle's plan with one row, and the call of libneedletail that contains such a run.
///
///     needletail-embedded-timer BUNDLE
///
/// Both take turns for `rounds` rounds. The program prints the median nanoseconds of each as JSON.
@main
struct EmbeddedTimer {
  static let rounds = 31
  static let calls = 20_000

  static func main() throws {
    guard CommandLine.arguments.count == 2 else {
      throw ServingError(.invalidArgument, "expected BUNDLE, found \(CommandLine.arguments.dropFirst())")
    }
    let path = CommandLine.arguments[1]
    let bundle = try VerifiedBundle(
      try BundleFile.open(path: path), trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
    let definition = try bundle.decode().definition
    let choice = try PlanChoice.make(for: definition.graph, policy: .stored)
    let plan = try CompiledModel(definition, choice: choice).plan
    let workspace = try Workspace(plan)
    let row = [Float](repeating: 1, count: plan.inputColumns)
    for (index, value) in row.enumerated() {
      workspace.input.storeBytes(of: value, toByteOffset: 4 * index, as: Float.self)
    }
    let call = try EmbeddedCall(path, row: row, outputs: plan.outputs)
    var (plans, embedded): ([Double], [Double]) = ([], [])
    for _ in 0..<rounds {
      plans.append(nanoseconds { plan.run(workspace, rows: 1) })
      embedded.append(nanoseconds { call.run() })
    }
    print("{\"plan\": \(median(plans)), \"call\": \(median(embedded))}")
  }

  private static func nanoseconds(_ body: () -> Void) -> Double {
    let clock = ContinuousClock()
    let taken = clock.measure { for _ in 0..<calls { body() } }
    return (1e9 * Double(taken.components.seconds) + Double(taken.components.attoseconds) / 1e9) / Double(calls)
  }

  private static func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
}

/// A call of C with everything that it needs, as a program would keep it.
final class EmbeddedCall {
  private let context: OpaquePointer
  private let row: UnsafeMutablePointer<Float>
  private let columns: Int
  private let outputs: UnsafeMutableBufferPointer<ntl_output>

  init(_ path: String, row: [Float], outputs: [PlanOutput]) throws {
    var (model, context) = (OpaquePointer?.none, OpaquePointer?.none)
    var options = ntl_options()
    options.allow_unsigned = true
    guard ntl_open(path, &options, &model, nil) == NTL_OK, ntl_context_new(model, &context, nil) == NTL_OK,
      let context
    else { throw ServingError(.internal, "\(path): expected a bundle, found another file") }
    self.context = context
    columns = row.count
    self.row = .allocate(capacity: columns)
    self.row.update(from: row, count: columns)
    self.outputs = .allocate(capacity: outputs.count)
    for (index, output) in outputs.enumerated() {
      let values = UnsafeMutableRawPointer.allocate(byteCount: 16 * output.columns, alignment: 16)
      self.outputs[index] = ntl_output(index: index, values: values, capacity: output.columns)
    }
  }

  func run() {
    let code = ntl_predict_rows(context, NTL_FLOAT32, row, 1, columns, outputs.baseAddress, outputs.count, nil)
    precondition(code == NTL_OK, "a good row was refused")
  }
}
