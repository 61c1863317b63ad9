import Foundation
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Folders that transformers and peft wrote: Tests/hugging-face/fixtures.py.
enum HuggingFaceFixtures {
  static func path(_ name: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("hugging-face/fixtures/\(name)").path
  }
}

@Suite("Tensors of encoders, and adapters")
struct EncoderTensorsTests {
  private func file(_ name: String) throws -> ModelTensors {
    try ModelTensors(TensorFile(HuggingFaceFixtures.path("\(name)/model.safetensors")))
  }

  private func adapter() throws -> LowRankAdapter {
    try LowRankAdapter(ForeignFolder(HuggingFaceFixtures.path("classification-adapter")))
  }

  private static let query = "transformer.layer.0.attention.q_lin.weight"

  /// W + alpha / rank · B · A, in plain loops; the adapter has rank 4 and alpha 6.
  @Test func anAdapterIsMergedIntoTheWeightsOfItsLayers() throws {
    var tensors = try EncoderTensors(file("classification"), adapter: adapter(), architecture: .distilBERT)
    let merged = try tensors.matrix(Self.query, rows: 16, columns: 16).floats
    let base = try file("classification").floats("distilbert.\(Self.query)", shape: [16, 16]).floats
    let low = try TensorFile(HuggingFaceFixtures.path("classification-adapter/adapter_model.safetensors"))
    let start = "base_model.model.distilbert.transformer.layer.0.attention.q_lin"
    let a = try low.floats("\(start).lora_A.weight", shape: [4, 16]).floats
    let b = try low.floats("\(start).lora_B.weight", shape: [16, 4]).floats
    let configuration = try String(
      contentsOfFile: HuggingFaceFixtures.path("classification-adapter/adapter_config.json"), encoding: .utf8)
    let factor = configuration.contains("\"use_rslora\": true") ? 6 / 2.0 : 6 / 4.0
    for row in 0..<16 {
      for column in 0..<16 {
        let product = (0..<4).reduce(0.0) { $0 + Double(b[row * 4 + $1]) * Double(a[$1 * 16 + column]) }
        let expected = Double(base[row * 16 + column]) + factor * product
        #expect(abs(Double(merged[row * 16 + column]) - expected) < 1e-6)
      }
    }
    #expect(merged != base)
    // Layers without a product, and biases, stay.
    let key = "transformer.layer.0.attention.k_lin.weight"
    #expect(
      try tensors.matrix(key, rows: 16, columns: 16).floats
        == file("classification").floats("distilbert.\(key)", shape: [16, 16]).floats)
  }

  @Test func tensorsOfAnAdapterTakeThePlaceOfTheModels() throws {
    var tensors = try EncoderTensors(file("classification"), adapter: adapter(), architecture: .distilBERT)
    let low = try TensorFile(HuggingFaceFixtures.path("classification-adapter/adapter_model.safetensors"))
    let name = try #require(low.names.first { $0.hasSuffix("classifier.weight") && !$0.contains("pre_") })
    #expect(
      try tensors.matrix("classifier.weight", rows: 3, columns: 16, isHead: true).floats
        == low.floats(name, shape: [3, 16]).floats)
    #expect(tensors.hasHead("classifier.weight") && !tensors.hasHead("qa_outputs.weight"))
  }

  @Test func theNamesOfABodyMayHaveItsPrefixOrNone() throws {
    for (name, architecture) in [
      ("embedding", EncoderConfiguration.Architecture.bert), ("classification", .distilBERT),
    ] {
      var tensors = try EncoderTensors(file(name), adapter: nil, architecture: architecture)
      #expect(try tensors.matrix("embeddings.word_embeddings.weight", rows: nil, columns: 16).rows == 244)
    }
    let error = #expect(throws: TrainingError.self) {
      try EncoderTensors(file("classification"), adapter: nil, architecture: .bert)
    }
    #expect(
      error?.message.contains("perhaps with bert. in front, as model_type of config.json says; found none") == true)
  }

  @Test func whatIsLeftOverIsNamed() throws {
    var tensors = try EncoderTensors(file("embedding"), adapter: nil, architecture: .bert)
    _ = try tensors.matrix("embeddings.word_embeddings.weight", rows: 244, columns: 16)
    let error = #expect(throws: TrainingError.self) { try tensors.checkThatAllIsUsed(layers: "encoder.layer.") }
    #expect(
      error?.message.contains("tensor \"embeddings.LayerNorm.bias\": expected a model with as many layers") == true)
    // An adapter of another model: none of its layers was asked for.
    let strange = #expect(throws: TrainingError.self) { try adapter().checkThatAllIsUsed() }
    #expect(strange?.message.hasSuffix("expected one of a layer that the model has, found no such layer") == true)
  }
}
