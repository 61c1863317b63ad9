internal import NeedletailCore

extension ModelDefinition {
  /// Schema, graph and labels fit one another. What makes a graph right is `ModelGraph.check`'s to say;
  /// what makes a text fit for a bundle is said here.
  func validate() throws(BundleError) {
    try schema.validate()
    try graph.validateTexts()
    do throws(GraphFault) {
      try graph.check(inputColumns: schema.features.count)
      try checkLabels()
    } catch {
      throw BundleError(error)
    }
    try validateLabels()
  }

  private func validateLabels() throws(BundleError) {
    guard graph.task == .classification || labels.isEmpty else {
      throw BundleError(.invalidGraph, "labels: expected none for a regression, found \(labels.count)")
    }
    for (index, label) in labels.enumerated() where label.isEmpty {
      throw BundleError(.invalidGraph, "label \(index): expected text, found none")
    }
    try NameCheck.unique(labels, "label")
  }
}

extension ModelGraph {
  fileprivate func validateTexts() throws(BundleError) {
    for (index, value) in values.enumerated() { try NameCheck.text(value.name, "value \(index): name") }
    for node in nodes { try NameCheck.text(node.name, "node name") }
    for tensor in tensors { try NameCheck.text(tensor.name, "tensor name") }
    for output in outputs { try NameCheck.text(output.name, "output name") }
  }
}

extension BundleError {
  fileprivate init(_ fault: GraphFault) {
    switch fault.kind {
    case .tooFew: self.init(.malformed, fault.message)
    case .tooMany: self.init(.oversized, fault.message)
    case .mismatch: self.init(.invalidGraph, fault.message)
    }
  }
}

/// Numbers of a model are finite: a NaN among weights turns every answer into NaN.
enum Finite {
  static func check(_ numbers: [some BinaryFloatingPoint], _ field: @autoclosure () -> String) throws(BundleError) {
    guard let index = numbers.firstIndex(where: { !$0.isFinite }) else { return }
    throw BundleError(.invalidGraph, "\(field()): expected finite numbers, found \(numbers[index]) at \(index)")
  }
}
