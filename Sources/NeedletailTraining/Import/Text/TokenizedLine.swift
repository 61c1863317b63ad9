public import NeedletailEngine
internal import NeedletailCore

/// One text, or two, and the tokens that a tokenizer makes of them: what `needletail-trainer tokenize` reads and writes.
public struct TokenizedLine {
  public let first: [UInt8]
  public let second: [UInt8]?

  public init(_ first: [UInt8], _ second: [UInt8]? = nil) {
    self.first = first
    self.second = second
  }

  /// Reads `{"text": "…", "pair": "…"}`, where the pair may be missing or null.
  ///
  /// - Throws: `TrainingError` that says what was expected instead.
  public init(json bytes: [UInt8]) throws(TrainingError) {
    let document = ForeignField(value: try ForeignJSON.read(bytes), path: "")
    first = Array(try document.required("text").text.utf8)
    second = try document.optional("pair").map { (field) throws(TrainingError) in Array(try field.text.utf8) }
  }

  /// The tokens as JSON on one line: `ids`, `starts`, `ends`, `words` and `types`, or `error` where the text is refused.
  public func json(_ tokenizer: Tokenizer, special: Bool) -> String {
    let encoding: Tokenizer.Encoding
    do throws(ServingError) {
      encoding = try tokenizer.encode(first, second, special: special)
    } catch {
      // The messages of a tokenizer quote nothing.
      return "{\"error\": \"\(error.message)\"}"
    }
    func list(_ values: some Sequence<some CustomStringConvertible>) -> String {
      "[" + values.map(\.description).joined(separator: ", ") + "]"
    }
    let words = list(encoding.words.map { $0.map(String.init) ?? "null" })
    return "{\"ids\": \(list(encoding.ids)), \"starts\": \(list(encoding.starts)), \"ends\": \(list(encoding.ends)), "
      + "\"words\": \(words), \"types\": \(list(encoding.types))}"
  }

  /// The tokens as lines for people: id, what it covers.
  ///
  /// - Throws: `TrainingError` where the text is refused.
  public func table(_ tokenizer: Tokenizer, special: Bool) throws(TrainingError) -> String {
    let encoding: Tokenizer.Encoding
    do throws(ServingError) {
      encoding = try tokenizer.encode(first, second, special: special)
    } catch {
      throw TrainingError(.data, error.message)
    }
    var lines = ""
    for (index, id) in encoding.ids.enumerated() {
      let text = encoding.texts[index] == 0 ? first : second ?? []
      let covered = text[encoding.starts[index]..<encoding.ends[index]]
      let number = String(repeating: " ", count: max(0, 8 - String(id).count)) + String(id)
      let words = covered.isEmpty ? "" : "  " + String(decoding: covered, as: UTF8.self).quotedForMessage
      lines += "\(number)\(words)\n"
    }
    return lines
  }
}
