import Foundation
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite("Configurations of encoders")
struct EncoderConfigurationTests {
  private static let bert = """
    {"model_type": "bert", "architectures": ["BertForSequenceClassification"], "vocab_size": 30, "hidden_size": 8,
     "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 40,
     "id2label": {"1": "yes", "0": "no"}, "problem_type": null, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}
    """
  private static let roberta = """
    {"model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"], "vocab_size": 30, "hidden_size": 8,
     "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 514,
     "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-05}
    """
  private static let distilled = """
    {"model_type": "distilbert", "architectures": ["DistilBertForTokenClassification"], "vocab_size": 30, "dim": 8,
     "n_layers": 3, "n_heads": 4, "hidden_dim": 16, "max_position_embeddings": 40, "activation": "relu"}
    """

  private func read(_ text: String) throws -> EncoderConfiguration { try EncoderConfiguration(Array(text.utf8)) }

  @Test func everyArchitectureIsReadByItsOwnNames() throws {
    let bert = try read(Self.bert)
    #expect(bert.architecture == .bert && bert.head == .sequenceClassification && bert.problem == nil)
    #expect(bert.labels == ["no", "yes"] && bert.types == 2 && bert.tokensMax == 40 && bert.activation == .gelu)
    let roberta = try read(Self.roberta)
    #expect(roberta.architecture == .roberta && roberta.head == .none && roberta.types == 1)
    #expect(roberta.positionOffset == 2 && roberta.tokensMax == 512 && roberta.epsilon == 1e-5)
    let distilled = try read(Self.distilled)
    #expect(distilled.architecture == .distilBERT && distilled.head == .tokenClassification && distilled.types == 0)
    #expect(distilled.layers == 3 && distilled.heads == 4 && distilled.innerWidth == 16)
    #expect(distilled.activation == .relu && distilled.epsilon == 1e-12)
  }

  /// A change of a configuration, and how the refusal ends.
  struct Change: Sendable, CustomTestStringConvertible {
    let old: String
    let new: String
    let message: String

    init(_ old: String, _ new: String, _ message: String) { (self.old, self.new, self.message) = (old, new, message) }

    var testDescription: String { "\(old) is \(new)" }
  }

  @Test(arguments: [
    Change(
      #""model_type": "bert""#, #""model_type": "mpnet""#,
      "model_type: expected bert, distilbert, roberta, xlm-roberta or camembert, found \"mpnet\""),
    Change(
      #""model_type": "bert", "#, "", "the document: expected an object with \"model_type\", found none of that name"),
    Change(
      #"["BertForSequenceClassification"]"#, #"["BertForMultipleChoice"]"#,
      "ForTokenClassification or ForQuestionAnswering, found \"BertForMultipleChoice\""),
    Change(
      #"["BertForSequenceClassification"]"#, #"["BertModel", "BertModel"]"#,
      "architectures: expected one architecture, found 2"),
    Change(#""hidden_size": 8"#, #""hidden_size": 9"#, "hidden_size: expected a multiple of 2 heads, found 9"),
    Change(
      #""hidden_size": 8"#, #""hidden_size": 1e9"#,
      "hidden_size: expected a whole number from 1 to 32768, found 1000000000.0"),
    Change(#""hidden_size": 8"#, #""hidden_size": "wide""#, "hidden_size: expected a number, found \"wide\""),
    Change(
      #""num_hidden_layers": 2"#, #""num_hidden_layers": 0"#,
      "num_hidden_layers: expected a whole number from 1 to 256, found 0.0"),
    Change(
      #""num_attention_heads": 2"#, #""num_attention_heads": 9"#,
      "num_attention_heads: expected a whole number from 1 to 8, found 9.0"),
    Change(
      #""layer_norm_eps": 1e-12"#, #""layer_norm_eps": 0"#,
      "layer_norm_eps: expected a number between 0 and 1, found 0.0"),
    Change(
      #""hidden_act": "gelu""#, #""hidden_act": "gelu_new""#,
      "hidden_act: expected gelu, relu or tanh, found \"gelu_new\""),
    Change(
      #""problem_type": null"#, #""problem_type": "ranking""#,
      "single_label_classification or multi_label_classification, found \"ranking\""),
    Change(#""0": "no""#, #""2": "no""#, "id2label.2: expected keys 0 to 1, each once, found \"2\""),
    Change(#""0": "no""#, #""0": 0"#, "id2label.0: expected text, found a number"),
    Change(
      #""problem_type": null"#, #""position_embedding_type": "relative_key""#,
      "position_embedding_type: expected \"absolute\", found \"relative_key\""),
    Change(#""problem_type": null"#, #""is_decoder": true"#, "is_decoder: expected false, found true"),
    Change(#""problem_type": null"#, #""pruned_heads": {"0": [1]}"#, "pruned_heads: expected no heads, found some"),
  ])
  func changedConfigurationsAreRefusedWithTheirField(change: Change) throws {
    let range = try #require(Self.bert.range(of: change.old))
    let text = Self.bert.replacingCharacters(in: range, with: change.new)
    let error = #expect(throws: TrainingError.self) { try read(text) }
    #expect(error?.message.hasSuffix(change.message) == true, "\(error?.message ?? "")")
  }

  @Test func aTableWithoutRowsBehindThePaddingIsRefused() throws {
    let text = Self.roberta.replacingOccurrences(of: #""pad_token_id": 1"#, with: #""pad_token_id": 513"#)
    let error = #expect(throws: TrainingError.self) { try read(text) }
    #expect(error?.message == "max_position_embeddings: expected more than 514, found 514")
  }

  // MARK: - modules

  private func modules(_ types: [(String, String)], _ pooling: String) throws -> SentenceModules? {
    let directory = try TemporaryDirectory()
    let listed = types.enumerated().map { index, module in
      #"{"idx": \#(index), "path": "\#(module.0)", "type": "sentence_transformers.models.\#(module.1)"}"#
    }
    try directory.write(Array("[\(listed.joined(separator: ", "))]".utf8), to: "modules.json")
    try FileManager.default.createDirectory(atPath: directory.file("1_Pooling"), withIntermediateDirectories: false)
    try directory.write(Array(pooling.utf8), to: "1_Pooling/config.json")
    try directory.write(
      Array(#"{"max_seq_length": 256, "do_lower_case": false}"#.utf8), to: "sentence_bert_config.json")
    return try SentenceModules.read(ForeignFolder(directory.path))
  }

  private static let usual = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]

  @Test func modulesSayHowTokensArePooled() throws {
    let mean = #"{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}"#
    #expect(
      try modules(Self.usual, mean) == SentenceModules(pooling: .mean, isNormalised: true, tokensMax: 256))
    #expect(try modules(Array(Self.usual.dropLast()), #"{"pooling_mode": "cls"}"#)?.isNormalised == false)
    #expect(try modules(Self.usual, #"{"pooling_mode_max_tokens": true}"#)?.pooling == .largest)
    #expect(try SentenceModules.read(ForeignFolder(TemporaryDirectory().path)) == nil)
  }

  @Test func otherModulesAreRefused() throws {
    func message(_ types: [(String, String)], _ pooling: String) -> String {
      do {
        _ = try modules(types, pooling)
        return ""
      } catch {
        return "\(error)"
      }
    }
    let mean = #"{"pooling_mode_mean_tokens": true}"#
    #expect(
      message(Self.usual, #"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}"#).hasSuffix(
        "1_Pooling/config.json: the document: expected one pooling mode: mean, cls or max, found cls and mean"))
    #expect(
      message(Self.usual, #"{"pooling_mode_mean_sqrt_len_tokens": true}"#).hasSuffix("found mean_sqrt_len"))
    #expect(message(Self.usual, "{}").hasSuffix("expected one pooling mode: mean, cls or max, found none"))
    #expect(
      message([("", "Transformer"), ("1_Dense", "Dense")], mean).hasSuffix(
        "expected Transformer, Pooling and perhaps Normalize, found \"Dense\" as module 1"))
    #expect(message([("0_Transformer", "Transformer")], mean).hasSuffix("found it in \"0_Transformer\""))
    #expect(message([("", "Transformer")], mean).hasSuffix("modules.json: expected a module Pooling, found none"))
  }
}
