internal import COpenBLAS
internal import Glibc
internal import NeedletailCore

/// A LoRA adapter of the library peft: products of two narrow matrices that are added to the weights of some layers, and
/// tensors that take the place of the model's. Merged before anything is computed, so that serving costs nothing more.
///
/// Hu et al., "LoRA: low-rank adaptation of large language models" (2021): W + (alpha / rank) · B · A.
final class LowRankAdapter {
  private let file: TensorFile
  private let alpha: Double
  /// Divides alpha by the root of the rank in place of the rank.
  private let isRankStabilised: Bool
  /// Task that the adapter was trained for, in peft's words; nil: none is named.
  let task: String?
  private var used: Set<String> = []

  private static let prefix = "base_model.model."

  /// Reads `adapter_config.json` and the header of `adapter_model.safetensors`.
  ///
  /// - Throws: `TrainingError` that names the file, the field, what was expected and what was found.
  init(_ folder: ForeignFolder) throws(TrainingError) {
    let name = "adapter_config.json"
    let document = try folder.json(name)
    (alpha, isRankStabilised, task) = try folder.naming(name) { () throws(TrainingError) in
      let type = try document.required("peft_type")
      guard try type.text == "LORA" else { throw type.fault("\"LORA\"", found: try type.text.quotedForMessage) }
      for key in ["use_dora", "fan_in_fan_out", "lora_bias", "use_qalora"] {
        if let flag = try document.optional(key), try flag.boolean { throw flag.fault("false", found: "true") }
      }
      if let pattern = try document.optional("alpha_pattern"), try !pattern.fields.isEmpty {
        throw pattern.fault("one lora_alpha for all layers", found: "others")
      }
      let alpha = try document.required("lora_alpha").number
      guard alpha.isFinite else {
        throw try document.required("lora_alpha").fault("a finite number", found: "\(alpha)")
      }
      return (alpha, try document.optional("use_rslora")?.boolean ?? false, try document.optional("task_type")?.text)
    }
    file = try TensorFile(folder.path("adapter_model.safetensors"))
    for name in file.names where !name.hasPrefix(Self.prefix) {
      throw .importing("\(file.path): tensor \(name.quotedForMessage): expected a name that begins with \(Self.prefix)")
    }
  }

  /// A tensor's name in the adapter, by its name in the model, with the body's prefix or without; nil without one.
  private func name(_ tensor: String, _ prefix: String, _ ending: String) -> String? {
    for candidate in [prefix + tensor, tensor] where file.has(Self.prefix + candidate + ending) {
      return Self.prefix + candidate + ending
    }
    return nil
  }

  /// Whether a tensor of the adapter takes the place of one of the model.
  func replaces(_ tensor: String, prefix: String) -> Bool { name(tensor, prefix, "") != nil }

  /// The tensor that takes the place of one of the model; nil: that one stays.
  func replacement(
    of tensor: String, prefix: String, shape: [Int?]
  ) throws(TrainingError) -> (floats: [Float], shape: [Int])? {
    guard let name = name(tensor, prefix, "") else { return nil }
    used.insert(name)
    return try file.floats(name, shape: shape)
  }

  /// Adds its product to the weights of a layer, if it has one for them.
  ///
  /// - Parameters:
  ///   - weights: rows × columns, row-major.
  ///   - tensor: name of the weights in the model, which ends in `.weight`, without the body's prefix.
  func merge(
    into weights: inout [Float], rows: Int, columns: Int, of tensor: String, prefix: String
  ) throws(TrainingError) {
    let layer = String(tensor.dropLast(".weight".count))
    guard let wide = name(layer, prefix, ".lora_A.weight") else { return }
    guard let tall = name(layer, prefix, ".lora_B.weight") else {
      throw .importing("\(file.path): tensor \(wide.quotedForMessage): expected a lora_B beside it, found none")
    }
    used.formUnion([wide, tall])
    let a = try file.floats(wide, shape: [nil, columns])
    let rank = a.shape[0]
    let b = try file.floats(tall, shape: [rows, rank])
    let factor = alpha / (isRankStabilised ? Double(rank).squareRoot() : Double(rank))
    weights.withUnsafeMutableBufferPointer { weights in
      cblas_sgemm(
        CblasRowMajor, CblasNoTrans, CblasNoTrans, blasint(rows), blasint(columns), blasint(rank), Float(factor),
        b.floats, blasint(rank), a.floats, blasint(columns), 1, weights.baseAddress, blasint(columns))
    }
  }

  /// The pooler of BERT stands beside an embedding and is left out.
  ///
  /// - Throws: `TrainingError` that names a tensor which no part of the model has taken.
  func checkThatAllIsUsed() throws(TrainingError) {
    guard let left = file.names.first(where: { !used.contains($0) && !$0.contains(".pooler.") }) else { return }
    throw .importing(
      "\(file.path): tensor \(left.quotedForMessage): expected one of a layer that the model has, found no such layer")
  }
}
