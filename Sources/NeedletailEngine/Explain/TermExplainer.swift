public import NeedletailCore

/// What the terms of one text add to a score. Together with what a text without any of them adds they are the text's
/// contribution.
public struct TextExplanation: Equatable, Sendable {
  public struct Term: Equatable, Sendable {
    /// The term as the model reads it; `#` and the number of its column where terms are hashed, which forgets them.
    public let text: String
    public let contribution: Double
  }

  /// Name of the feature that holds the text.
  public let feature: String
  /// Largest magnitudes first.
  public let terms: [Term]
  /// Contribution of a text without known terms: the mean over the training rows, taken off.
  public let withoutTerms: Double
}

/// Shares out what a text contributes to the score of a linear model among its terms: weight times value, exactly.
///
/// Confined to one thread at a time.
public final class TermExplainer {
  private struct Text {
    var feature: Int
    var name: String
    var operation: TextTerms
    var encoder: TermEncoder
    /// Outputs × terms.
    var weights: [Float]
    var bias: [Float]
  }

  private let texts: [Text]

  /// - Returns: nil for a model that reads no texts.
  /// - Throws: if the system has no memory.
  public init?(_ explainer: ModelExplainer) throws(ExplanationError) {
    guard let layers = explainer.texts else { return nil }
    let graph = explainer.graph
    var texts: [Text] = []
    for part in layers.parts {
      guard let operation = graph.nodes[part.terms].operation as? TextTerms,
        let dense = graph.nodes[part.layer].operation as? Dense, let weights = graph.tensors[dense.weights].floats
      else {
        throw ExplanationError("graph: expected a layer of fp32 weights behind the terms of a text, found another")
      }
      do throws(PlanError) {
        texts.append(
          Text(
            feature: part.feature, name: explainer.features[part.feature], operation: operation,
            encoder: try TermEncoder(operation, textBytesMax: Limits.textBytesMaxDefault), weights: weights,
            bias: dense.bias.flatMap { graph.tensors[$0].floats } ?? []))
      } catch {
        throw ExplanationError(error.message)
      }
    }
    self.texts = texts
  }

  /// - Parameters:
  ///   - row: one cell per feature, in schema order, which the model takes.
  ///   - output: index of the score.
  /// - Returns: an explanation of each text, in the order of the schema's.
  public func explain(_ row: [Cell], output: Int) -> [TextExplanation] {
    texts.map { text in
      let first = output * text.operation.columnCount
      var terms: [TextExplanation.Term] = []
      if case .text(var value) = row[text.feature] {
        terms = value.withUTF8 { bytes in
          let found = text.encoder.terms(of: bytes)
          return zip(found.columns, found.weights).map { column, weight in
            TextExplanation.Term(
              text: text.operation.name(of: Int(column)),
              contribution: Double(text.weights[first + Int(column)]) * Double(weight))
          }
        }
      }
      return TextExplanation(
        feature: text.name, terms: terms.sorted { (abs($0.contribution), $1.text) > (abs($1.contribution), $0.text) },
        withoutTerms: text.bias.isEmpty ? 0 : Double(text.bias[output]))
    }
  }
}

extension TextTerms {
  /// What a column stands for, for people.
  fileprivate func name(of column: Int) -> String {
    switch columns {
    case .vocabulary(let terms): String(decoding: terms[column], as: UTF8.self)
    case .hashed: "#\(column)"
    }
  }
}
