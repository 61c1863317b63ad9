import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import Testing

/// Bundles that the trainer of format 1.0 wrote, with rows and the exact bits of their answers as engines of numerics 1
/// and of numerics 2 computed them. The bits of the present numerics stay, also when the graph changes, and those of
/// other numerics stay within a few units of the last place: a fleet of servers may run two releases at once, and a
/// caller must not see which of them answered.
@Suite("Bundles of format 1.0 answer as they did")
struct OldBundleTests {
  /// One fixture: `NAME.ntb` and `NAME.json`.
  struct Recording: Codable {
    /// One list of cells a row: a number, a text, or null where the value is missing.
    var rows: [[RecordedCell]]
    /// By revision of the numerics: per output the bits of its fp32 answers, row-major, in hexadecimal; labels stand
    /// as they are.
    var answers: [String: [String: [String]]]
  }

  enum RecordedCell: Codable {
    case number(Double), text(String), missing

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if container.decodeNil() {
        self = .missing
      } else if let number = try? container.decode(Double.self) {
        self = .number(number)
      } else {
        self = .text(try container.decode(String.self))
      }
    }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      switch self {
      case .number(let number): try container.encode(number)
      case .text(let text): try container.encode(text)
      case .missing: try container.encodeNil()
      }
    }

    var cell: Cell {
      switch self {
      case .number(let number): .number(number)
      case .text(let text): .text(text)
      case .missing: .missing
      }
    }
  }

  private func url(_ name: String) -> URL {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Fixtures/\(name)")
  }

  /// `digits-mlp-int8-1.0`: 64 columns, three int8 layers. `breast-cancer-logistic-1.0`: 30 columns with missing
  /// values. `shop-mlp-categories-1.0`: three categorical columns of five, one-hot, missing and unseen values.
  @Test(
    arguments: ["digits-mlp-int8-1.0", "breast-cancer-logistic-1.0", "shop-mlp-categories-1.0"],
    InstructionSet.supported)
  func everyBitIsAsItWas(name: String, isa: InstructionSet) throws {
    let bundle = try VerifiedBundle(
      BundleFile(bytes: Array(Data(contentsOf: url("\(name).ntb")))), trust: .allowingUnsigned, expecting: nil,
      nowMilliseconds: 0)
    let contents = try bundle.decode()
    var options = PlanOptions()
    options.isa = isa
    let model = try CompiledModel(contents.definition, options: options)
    try GoldenCheck.run(contents.golden, on: model)
    let recording = try JSONDecoder().decode(Recording.self, from: Data(contentsOf: url("\(name).json")))
    let answers = try model.answers(for: recording.rows.map { $0.map(\.cell) })
    for (numerics, recorded) in recording.answers {
      #expect(answers.map(\.name).sorted() == recorded.keys.sorted())
      for (output, answer) in answers {
        let expected = try #require(recorded[output])
        if numerics == String(Numerics.revision) || output != "probabilities" {
          #expect(words(answer) == expected, "numerics \(numerics), output \(output)")
        } else {
          #expect(largestDifference(answer, expected) <= 2e-7, "numerics \(numerics), output \(output)")
        }
      }
    }
    #expect(recording.answers.keys.contains(String(Numerics.revision)))
  }

  private func largestDifference(_ answer: GoldenSample.Answer, _ recorded: [String]) -> Double {
    guard case .numbers(let numbers) = answer, numbers.count == recorded.count else { return .infinity }
    return zip(numbers, recorded).map { number, word in
      guard let bits = UInt32(word, radix: 16) else { return .infinity }
      return abs(number - Double(Float(bitPattern: bits)))
    }.max() ?? .infinity
  }

  private func words(_ answer: GoldenSample.Answer) -> [String] {
    switch answer {
    case .numbers(let numbers): numbers.map { String(Float($0).bitPattern, radix: 16) }
    case .strings(let strings): strings
    }
  }
}
