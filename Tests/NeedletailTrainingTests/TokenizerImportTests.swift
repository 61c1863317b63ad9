import Foundation
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite("Tokenizers of Hugging Face folders")
struct TokenizerImportTests {
  private static let kinds = ["word-pieces", "byte-pairs", "unigrams"]

  /// Where a byte-level token begins or ends inside a character, the library says the whole character.
  private func whole(_ start: Int, _ end: Int, _ text: [UInt8]) -> [Int] {
    var (start, end) = (start, end)
    func isInside(_ place: Int) -> Bool { place < text.count && text[place] & 0xc0 == 0x80 }
    let isEmpty = start == end
    while isInside(start) { start -= 1 }
    while !isEmpty, isInside(end) { end += 1 }
    return [start, end]
  }

  @Test func idsOffsetsWordsAndTypesAreThoseOfTheLibrary() throws {
    let expectations = try TextFixtures.expectations()
    #expect(Set(expectations.map(\.tokenizer)) == Set(Self.kinds))
    for kind in Self.kinds {
      let tokenizer = try Tokenizer(TokenizerImport.read(TextFixtures.bytes("\(kind).json")))
      for expected in expectations where expected.tokenizer == kind {
        let texts = expected.texts.map { Array($0.utf8) }
        let found = try tokenizer.encode(texts[0], texts.count > 1 ? texts[1] : nil)
        #expect(found.ids == expected.ids, "\(kind): \(expected.texts)")
        #expect(found.words == expected.words, "\(kind): \(expected.texts)")
        #expect(found.types == expected.types, "\(kind): \(expected.texts)")
        let offsets = found.ids.indices.map { whole(found.starts[$0], found.ends[$0], texts[Int(found.texts[$0])]) }
        #expect(offsets == expected.offsets, "\(kind): \(expected.texts)")
      }
    }
  }

  @Test(arguments: kinds) func aTokenizerComesBackFromItsSection(kind: String) throws {
    let definition = try TokenizerImport.read(TextFixtures.bytes("\(kind).json"))
    #expect(definition.tokens.count > 100)
    _ = try Tokenizer(definition)
  }

  /// The ids are those of transformers' `BertTokenizerFast` with the same files.
  @Test func vocabTextAndItsConfigurationMakeBertsTokenizer() throws {
    let vocabulary = Array("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfast\n##er\nÜber\nuber\n".utf8)
    func ids(_ configuration: String?) throws -> [UInt32] {
      let definition = try VocabularyImport.read(vocabulary, configuration: configuration.map { Array($0.utf8) })
      return try Tokenizer(definition).encode(Array("faster Über [MASK]".utf8)).ids
    }
    #expect(try ids(nil) == [2, 5, 6, 8, 4, 3])
    #expect(try ids(#"{"do_lower_case": false}"#) == [2, 5, 6, 7, 4, 3])
    #expect(try ids(#"{"do_lower_case": true, "strip_accents": false}"#) == [2, 5, 6, 1, 4, 3])
    #expect(try ids(#"{"mask_token": {"content": "fast", "lstrip": true}}"#) == [2, 5, 1, 8, 1, 1, 1, 3])
  }

  @Test func linesMayEndLikeThoseOfWindows() throws {
    let tokens = try VocabularyImport.read(Array("[CLS]\r\n[SEP]\r\n[UNK]\r\nx".utf8), configuration: nil).tokens
    #expect(tokens.count == 4 && tokens[3] == "x" && tokens[0] == "[CLS]")
  }

  // MARK: - hostile files

  /// A change of a file, and a part of the refusal.
  struct Change: Sendable, CustomTestStringConvertible {
    let kind: String
    let old: String
    let new: String
    let message: String

    init(_ kind: String, _ old: String, _ new: String, _ message: String) {
      (self.kind, self.old, self.new, self.message) = (kind, old, new, message)
    }

    var testDescription: String { "\(kind): \(old) is \(new)" }
  }

  private static let changes = [
    Change(
      "word-pieces", #""type": "WordPiece""#, #""type": "WordLevel""#,
      "type WordPiece, BPE or Unigram, found \"WordLevel\""),
    Change(
      "word-pieces", #""type": "WordPiece", "unk"#, #""unk"#,
      "model: expected type WordPiece, BPE or Unigram, found none"),
    Change("word-pieces", #""[UNK]": 1"#, #""[UNK]": 1.5"#, "a whole number from 0 to 16777216, found 1.5"),
    Change("word-pieces", #""[UNK]": 1"#, #""[UNK]": -1"#, "a whole number from 0 to 16777216, found -1.0"),
    Change("word-pieces", #""[UNK]": 1"#, #""[UNK]": 7"#, "expected an id of its own, found 7"),
    Change("word-pieces", #""[UNK]": 1"#, #""[UNK]": 100000"#, "unknown token: expected an id below 240, found 100000"),
    Change("word-pieces", #""[UNK]": 1"#, #""[PAD]": 1"#, "expected each key once in an object, found \"[PAD]\" twice"),
    Change("word-pieces", #""[UNK]": 1"#, #""\ud800": 1"#, "the second half of a surrogate pair"),
    Change("word-pieces", #""type": "BertNormalizer""#, #""type": "NFC""#, "one BertNormalizer, found 1 with \"NFC\""),
    Change(
      "word-pieces", #""type": "BertPreTokenizer""#, #""type": "Whitespace""#,
      "a BertPreTokenizer before WordPiece, found \"Whitespace\""),
    Change(
      "word-pieces", #""lowercase": true"#, #""lowercase": 1"#,
      "normalizer.lowercase: expected true or false, found a number"),
    Change(
      "word-pieces", #""max_input_chars_per_word": 100"#, #""max_input_chars_per_word": 1000"#,
      "characters of a word: expected 1 to 256, found 1000"),
    Change(
      "word-pieces", #""type": "BertProcessing""#, #""type": "Custom""#,
      "post_processor: expected a post-processor TemplateProcessing"),
    Change(
      "word-pieces", #""cls": ["[CLS]", 2]"#, #""cls": ["[CLS]"]"#,
      "post_processor.cls: expected a token and its id, found 1 values"),
    Change(
      "word-pieces", #""cls": ["[CLS]", 2]"#, #""cls": ["[CLS]", 99999]"#, "template: expected tokens that there are"),
    Change(
      "byte-pairs", #""use_regex": true, "add_prefix_space": false}, "post"#,
      #""use_regex": false, "add_prefix_space": false}, "post"#,
      "a ByteLevel pre-tokenizer with its regular expression before BPE, found \"ByteLevel\""),
    Change("byte-pairs", #""dropout": null"#, #""dropout": 0.1"#, "model.dropout: expected none, found 0.1"),
    Change(
      "byte-pairs", #""end_of_word_suffix": null"#, #""end_of_word_suffix": "</w>""#,
      "model.end_of_word_suffix: expected none, found \"</w>\""),
    Change(
      "byte-pairs", #""normalizer": null"#, #""normalizer": {"type": "NFC"}"#,
      "normalizer: expected no normalizer before BPE, found \"NFC\""),
    Change(
      "byte-pairs", #""strategy": "LongestFirst""#, #""strategy": "Shortest""#,
      "strategy LongestFirst, OnlyFirst or OnlySecond, found \"Shortest\""),
    Change(
      "byte-pairs", #""direction": "Right""#, #""direction": "Left""#,
      "truncation.direction: expected Right, found \"Left\""),
    Change(
      "byte-pairs", #""max_length": 24"#, #""max_length": 0"#, "truncation.max_length: expected a whole number from 1"),
    Change(
      "byte-pairs", #""merges": [["#, #""merges": [["zzz", "q"], ["#,
      "model.merges[0]: expected tokens of the vocabulary, found \"zzz\""),
    Change(
      "byte-pairs", #""merges": [["#, #""merges": ["a  b", ["#,
      "model.merges[0]: expected two tokens with a space between them"),
    Change(
      "byte-pairs", #""merges": [["#, #""merges": [["a"], ["#, "model.merges[0]: expected two tokens, found 1 values"),
    Change(
      "unigrams", #""type": "Precompiled""#, #""type": "Lowercase""#,
      "Precompiled, Strip or Replace before Unigram, found \"Lowercase\""),
    Change(
      "unigrams", #""precompiled_charsmap": "AAQ"#, #""precompiled_charsmap": "?AAQ"#,
      "precompiled_charsmap: expected base64"),
    Change(
      "unigrams", #""precompiled_charsmap": "AAQA"#, #""precompiled_charsmap": "/AQA"#,
      "character map: expected one that stays inside itself"),
    Change("unigrams", #""replacement": "▁""#, #""replacement": "_""#, "replacement: expected ▁, found \"_\""),
    Change(
      "unigrams", #""prepend_scheme": "always""#, #""prepend_scheme": "often""#,
      "prepend_scheme never, first or always, found \"often\""),
    Change(
      "unigrams", #""type": "WhitespaceSplit""#, #""type": "Digits""#,
      "WhitespaceSplit or Metaspace before Unigram, found \"Digits\""),
    Change("unigrams", #""unk_id": 3"#, #""unk_id": 5000"#, "unknown token: expected an id below"),
    Change("unigrams", #"["<s>", 0.0]"#, #"["<s>", NaN]"#, "expected a finite score"),
    Change("unigrams", #"["<s>", 0.0]"#, #"["<s>"]"#, "model.vocab[0]: expected a token and its score, found 1 values"),
    Change("unigrams", #"["<s>", 0.0]"#, #"["<pad>", 0.0]"#, "expected once, found twice"),
  ]

  private func refusal(_ bytes: [UInt8]) -> String {
    do {
      _ = try Tokenizer(TokenizerImport.read(bytes))
      return ""
    } catch {
      return "\(error)"
    }
  }

  @Test(arguments: changes) func changedFilesAreRefusedWithTheirField(change: Change) throws {
    let text = String(decoding: try TextFixtures.bytes("\(change.kind).json"), as: UTF8.self)
    let range = try #require(text.range(of: change.old), "the file holds what is changed")
    let message = refusal(Array(text.replacingCharacters(in: range, with: change.new).utf8))
    #expect(message.contains(change.message), "\(message)")
  }

  @Test(arguments: kinds) func filesThatAreCutOffAreRefusedEverywhere(kind: String) throws {
    let bytes = try TextFixtures.bytes("\(kind).json")
    for end in stride(from: 0, to: bytes.count - 2, by: 97) { #expect(!refusal(Array(bytes[..<end])).isEmpty) }
  }

  @Test func badVocabulariesAreRefused() {
    func message(_ text: String, _ configuration: String = "{}") -> String {
      do {
        _ = try Tokenizer(VocabularyImport.read(Array(text.utf8), configuration: Array(configuration.utf8)))
        return ""
      } catch {
        return "\(error)"
      }
    }
    #expect(message("").contains("expected a token a line, found none"))
    #expect(message("a\nb\n").contains("expected a line \"[CLS]\", which stands around each text, found none"))
    #expect(message("[CLS]\n[SEP]\nx\nx\n").contains("token 3 \"x\", or an added one of that index: expected once"))
    #expect(message("[CLS]\n[SEP]\n", "[]").contains("the document: expected an object, found a list of numbers"))
    #expect(
      message("[CLS]\n[SEP]\n", #"{"added_tokens_decoder": {"x": {"content": "y"}}}"#).contains(
        "added_tokens_decoder.x: expected an id as its key, found \"x\""))
    #expect(
      message("[CLS]\n[SEP]\n", #"{"added_tokens_decoder": {"9": {"content": "y"}}}"#).contains("added token 2 \"y\""))
    let bytes: [UInt8] = Array("[CLS]\n".utf8) + [0xff]
    #expect(throws: TrainingError.self) { try VocabularyImport.read(bytes, configuration: nil) }
  }

  @Test func linesOfTokensAreJSON() throws {
    let tokenizer = try Tokenizer(TokenizerFixtures.wordPieces())
    let line = try TokenizedLine(json: Array(#"{"text": "faster", "pair": null}"#.utf8))
    #expect(
      line.json(tokenizer, special: true)
        == #"{"ids": [2, 4, 5, 3], "starts": [0, 0, 4, 0], "ends": [0, 4, 6, 0], "words": [null, 0, 0, null], "types": [0, 0, 0, 0]}"#
    )
    #expect(
      TokenizedLine([0xff]).json(tokenizer, special: false)
        == #"{"error": "text: expected UTF-8, found another byte at 0"}"#)
    #expect(try line.table(tokenizer, special: true) == "       2\n       4  \"fast\"\n       5  \"er\"\n       3\n")
    #expect(throws: TrainingError.self) { try TokenizedLine(json: Array("{}".utf8)) }
  }
}
