internal import Foundation
internal import NeedletailClient

/// Prints the description of one model version for people.
struct DescriptionPrinter {
  private let model: ModelDescription

  init(_ model: ModelDescription) {
    self.model = model
  }

  func print() {
    let state = model.state?.description ?? "unknown"
    print("\(model.model) version \(model.version): \(model.task), \(state)")
    for (name, value) in facts where !value.isEmpty {
      print("  " + name.padding(toLength: 11, withPad: " ", startingAt: 0) + value)
    }
    section("inputs", model.inputs)
    section("outputs", model.outputs)
    pairs("metrics", model.metrics.mapValues { String(format: "%.6g", $0) })
    // The configuration is a whole file, which only `--json` shows.
    pairs("lineage", model.lineage.filter { !$0.value.contains("\n") && !$0.value.isEmpty })
    guard !model.plan.isEmpty else { return }
    print("plan")
    for step in model.plan { print("  \(step)") }
  }

  /// Prints a line without control characters: names, labels and texts come from the publisher of the bundle.
  private func print(_ line: String) { Swift.print(BundleOutput.plain(line)) }

  private var facts: [(String, String)] {
    let created = Date(timeIntervalSince1970: Double(model.createdMilliseconds) / 1000)
    return [
      ("created", model.createdMilliseconds > 0 ? ISO8601DateFormatter().string(from: created) : ""),
      ("digest", model.digest), ("signer", model.signer.isEmpty ? "none: not signed" : model.signer),
      ("precision", [model.precision, model.isa].filter { !$0.isEmpty }.joined(separator: " on ")),
      ("timed", model.planChoice),
      (
        "memory",
        model.residentBytes > 0 ? "\(model.residentBytes / 1024 + (model.residentBytes % 1024 > 0 ? 1 : 0)) KiB" : ""
      ),
      ("labels", Self.list(model.labels)),
    ]
  }

  private func section(_ title: String, _ specs: [TensorSpecReport]) {
    guard !specs.isEmpty else { return }
    print(title)
    let width = specs.map(\.name.count).max() ?? 0
    for spec in specs {
      let shape = spec.shape.map { $0 == 0 ? "rows" : String($0) }.joined(separator: ", ")
      var line = "  " + spec.name + String(repeating: " ", count: width - spec.name.count)
      line += "  \(spec.type?.description ?? "UNKNOWN") [\(shape)]"
      if spec.optional { line += ", may be missing" }
      if !spec.categories.isEmpty { line += ", one of " + Self.list(spec.categories) }
      if !spec.summary.isEmpty { line += "  \(spec.summary)" }
      print(line)
    }
  }

  private func pairs(_ title: String, _ values: [String: String]) {
    guard !values.isEmpty else { return }
    print(title)
    let width = values.keys.map(\.count).max() ?? 0
    for (key, value) in values.sorted(by: { $0.key < $1.key }) {
      print("  " + key + String(repeating: " ", count: width - key.count) + "  " + value)
    }
  }

  private static func list(_ words: [String]) -> String {
    words.prefix(12).joined(separator: ", ") + (words.count > 12 ? ", … (\(words.count))" : "")
  }
}
