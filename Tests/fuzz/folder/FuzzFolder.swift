internal import FuzzDriver
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailTraining

/// Reads the bytes as a file of a Hugging Face folder, which must be read or refused, never trap.
///
/// The first byte chooses the file: `tokenizer.json`, `vocab.txt`, the header of `model.safetensors`, or `config.json`. What
/// becomes a tokenizer makes tokens of a text.
@main
enum FuzzFolder {
  static func main() {
    fuzz { data, count in
      FuzzFolder.read(Array(UnsafeBufferPointer(start: data, count: count)))
      return 0
    }
  }

  private static func read(_ bytes: [UInt8]) {
    guard let way = bytes.first else { return }
    do throws(TrainingError) {
      try check(Array(bytes.dropFirst()), way % 4)
    } catch {
      precondition(!error.message.isEmpty, "a refusal without words")
    }
  }

  private static func check(_ bytes: [UInt8], _ way: UInt8) throws(TrainingError) {
    switch way {
    case 0: use(try TokenizerImport.read(bytes))
    case 1: use(try VocabularyImport.read(bytes, configuration: nil))
    case 2:
      let length = try SafeTensorsHeader.length(bytes, fileBytes: bytes.count)
      let header = try SafeTensorsHeader(
        Array(bytes[SafeTensorsHeader.lengthBytes...].prefix(length)), fileBytes: bytes.count)
      precondition(header.dataBytes <= bytes.count, "tensors lie in the file")
    default: _ = try EncoderConfiguration(bytes)
    }
  }

  private static func use(_ definition: TokenizerDefinition) {
    guard let tokenizer = try? Tokenizer(definition, isa: .scalar) else { return }
    guard let found = try? tokenizer.encode(Array("fast answers, naïve  é \u{1F600} <s> 模".utf8)) else { return }
    precondition(found.ids.allSatisfy { $0 < UInt32(tokenizer.idCount) }, "ids are those of tokens")
  }
}
