internal import ArgumentParser
internal import Foundation
internal import NeedletailClient
internal import NeedletailCore

struct EmbedCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "embed",
    abstract: "Vectors of texts, or how similar texts are.",
    discussion: """
      Asks a model of one text whose answer is a vector, and prints one JSON object per text. With --similarity, the \
      cosine of the angle between each two texts.

      Examples:
        needletail embed sentences "a red car" "an automobile"
        needletail embed sentences --similarity "a red car" "an automobile" "rain tomorrow"
      """)

  @Argument(help: ArgumentHelp("The model; @ chooses a version or a label.", valueName: "MODEL[@VERSION|@LABEL]"))
  var model: ModelReference

  @Argument(help: ArgumentHelp("Texts to embed.", valueName: "TEXT"))
  var texts: [String]

  @Option(help: ArgumentHelp("Output that holds the vector, where the model has several.", valueName: "NAME"))
  var output: String?

  @Flag(help: "Print how similar the texts are instead of their vectors.")
  var similarity = false

  @OptionGroup var server: ServerOptions

  func validate() throws {
    guard !similarity || texts.count > 1 else {
      throw ValidationError("--similarity: expected two texts or more, found \(texts.count)")
    }
  }

  func run() async throws {
    try await server.withClient { client in
      let description = try await client.describeModel(model.model, selector: model.selector)
      let table = try FeatureTable(texts: texts, for: description)
      let inputs = try table.tensors(for: description, rows: texts.indices)
      let answer = try await client.predict(
        model.model, selector: model.selector, inputs: inputs, outputs: output.map { [$0] } ?? [])
      let vectors = try Self.vectors(answer, rows: texts.count)
      if similarity {
        printSimilarities(vectors)
      } else {
        for (text, vector) in zip(texts, vectors) { try printJSON(Embedded(text: text, embedding: vector)) }
      }
    }
  }

  private struct Embedded: Encodable {
    var text: String
    var embedding: [Float]
  }

  /// The one output of floats, one vector a row.
  private static func vectors(_ answer: Prediction, rows: Int) throws -> [[Float]] {
    let found = answer.outputs.compactMap { output -> [Float]? in
      if case .floats(let values) = output.values { values } else { nil }
    }
    guard found.count == 1, let values = found.first, rows > 0, values.count % rows == 0 else {
      throw Failure(
        "model \(answer.model.quotedForMessage): expected one output of numbers, found \(found.count); name it by --output"
      )
    }
    let width = values.count / rows
    return (0..<rows).map { Array(values[$0 * width..<($0 + 1) * width]) }
  }

  private func printSimilarities(_ vectors: [[Float]]) {
    var table = TerminalTable([("text", .left)] + texts.indices.map { (String($0 + 1), .right) })
    for (row, vector) in vectors.enumerated() {
      table.append(
        ["\(row + 1) \(BundleOutput.plain(texts[row]))"]
          + vectors.map { String(format: "%.3f", Self.cosine(vector, $0)) })
    }
    table.print()
  }

  private static func cosine(_ a: [Float], _ b: [Float]) -> Double {
    func dot(_ a: [Float], _ b: [Float]) -> Double { zip(a, b).reduce(0) { $0 + Double($1.0) * Double($1.1) } }
    let lengths = (dot(a, a) * dot(b, b)).squareRoot()
    return lengths > 0 ? dot(a, b) / lengths : 0
  }
}

extension FeatureTable {
  /// A row for each text, for a model whose one input is a text.
  init(texts: [String], for model: ModelDescription) throws(Failure) {
    let inputs = model.inputs.filter(\.isText)
    guard inputs.count == 1, let input = inputs.first else {
      throw Failure(
        "model \(model.model.quotedForMessage): expected one input of text, found \(inputs.count); give features by --set"
      )
    }
    self.init(
      source: "text", columns: [ValueText.normalised(input.name)], rows: texts.map { [TextCell($0, .quoted)] },
      rowName: { "text \($0 + 1)" })
  }
}
