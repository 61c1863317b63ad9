import ArgumentParser
import Foundation
import NeedletailEngine
import NeedletailTraining

struct TokenizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tokenize",
    abstract: "Shows the tokens that a Hugging Face tokenizer makes of texts.",
    discussion: """
      Reads tokenizer.json, or vocab.txt with the tokenizer_config.json beside it, as import does. Texts come from --text, \
      or as lines on standard input: plain, or with --jsonl as objects with the keys text and pair.

        needletail-trainer tokenize models/MiniLM --text "fast answers"
        needletail-trainer tokenize models/MiniLM --json < texts.txt
      """)

  @Argument(help: ArgumentHelp("The folder, or its tokenizer.json or vocab.txt.", valueName: "path"))
  var path: String

  @Option(help: ArgumentHelp("A text; else standard input is read.", valueName: "text"))
  var text: String?

  @Option(help: ArgumentHelp("A second text to go with --text.", valueName: "text"))
  var pair: String?

  @Flag(help: "Read lines of JSON.")
  var jsonl = false

  @Flag(help: "Leave out the special tokens around texts.")
  var noSpecial = false

  @Flag(help: "Write a line of JSON for each text: ids, and the bytes that each covers.")
  var json = false

  func validate() throws {
    if pair != nil, text == nil { throw ValidationError("--pair: expected --text with the first text, found none") }
  }

  func run() throws { try perform(runTyped) }

  private func runTyped() throws(TrainingError) {
    let tokenizer = try TokenizerFile.read(path)
    if let text { return try show(TokenizedLine(Array(text.utf8), pair.map { Array($0.utf8) }), tokenizer) }
    var lines = InputLines()
    var number = 0
    while let line = lines.next() {
      number += 1
      do throws(TrainingError) {
        try show(jsonl ? try TokenizedLine(json: line) : TokenizedLine(line), tokenizer)
      } catch {
        throw TrainingError(error.kind, "standard input, line \(number): \(error.message)")
      }
    }
  }

  private func show(_ line: TokenizedLine, _ tokenizer: Tokenizer) throws(TrainingError) {
    if json {
      print(line.json(tokenizer, special: !noSpecial))
    } else {
      print(try line.table(tokenizer, special: !noSpecial))
    }
  }
}

/// Lines of standard input as they are, without the newline that ends them.
private struct InputLines {
  private var buffer: [UInt8] = []
  private var start = 0
  private var isAtEnd = false

  mutating func next() -> [UInt8]? {
    var searched = start
    while true {
      if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
        defer { start = end + 1 }
        return Array(buffer[start..<end])
      }
      if isAtEnd {
        defer { start = buffer.count }
        return start < buffer.count ? Array(buffer[start...]) : nil
      }
      buffer.removeSubrange(..<start)
      start = 0
      searched = buffer.count
      let more = FileHandle.standardInput.availableData
      isAtEnd = more.isEmpty
      buffer.append(contentsOf: more)
    }
  }
}
