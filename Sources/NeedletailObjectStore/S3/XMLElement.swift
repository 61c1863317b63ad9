/// An element of a small XML document: the answers of an object store.
///
/// Attributes, comments and the XML declaration are passed over. Documents with a DTD are refused, and so are those
/// nested deeper or with more elements than the limits allow.
struct XMLElement: Equatable {
  var name: String
  /// Text directly inside, with entities replaced.
  var text = ""
  var children: [XMLElement] = []

  private static let depthMax = 16
  private static let elementsMax = 65_536

  /// Text of the first child of a name.
  subscript(name: String) -> String? { children.first { $0.name == name }?.text }

  /// - Throws: `.malformed` for what is no XML of this kind.
  static func parse(_ bytes: [UInt8]) throws(ObjectStoreError) -> XMLElement {
    guard String(validating: bytes, as: UTF8.self) != nil else { throw wrong("UTF-8") }
    var reader = Reader(bytes: bytes)
    return try reader.document()
  }

  private static func wrong(_ expected: String) -> ObjectStoreError {
    ObjectStoreError(.malformed, "XML of the store: expected \(expected), found something else")
  }

  private struct Reader {
    let bytes: [UInt8]
    var position = 0
    var elements = 0

    mutating func document() throws(ObjectStoreError) -> XMLElement {
      var open: [XMLElement] = []
      while position < bytes.count {
        guard bytes[position] == UInt8(ascii: "<") else {
          let text = try takeText()
          if open.isEmpty {
            guard text.allSatisfy(\.isWhitespace) else { throw wrong("an element") }
          } else {
            open[open.count - 1].text += text
          }
          continue
        }
        if try skip("<?", to: "?>") { continue }
        if try skip("<!--", to: "-->") { continue }
        guard !has("<!") else { throw wrong("no declarations") }
        position += 1
        let isEnd = position < bytes.count && bytes[position] == UInt8(ascii: "/")
        if isEnd { position += 1 }
        let (name, isEmpty) = try takeTag()
        if isEnd {
          guard !isEmpty, let last = open.popLast(), last.name == name else {
            throw wrong("the end of the open element")
          }
          if open.isEmpty { return last }
          open[open.count - 1].children.append(last)
        } else {
          elements += 1
          guard open.count < XMLElement.depthMax, elements <= XMLElement.elementsMax else {
            throw wrong("few elements that are not deep")
          }
          let element = XMLElement(name: name)
          if !isEmpty {
            open.append(element)
          } else if open.isEmpty {
            return element
          } else {
            open[open.count - 1].children.append(element)
          }
        }
      }
      throw wrong("a whole document")
    }

    private func wrong(_ expected: String) -> ObjectStoreError { XMLElement.wrong(expected) }

    private func has(_ text: String) -> Bool { bytes[position...].starts(with: text.utf8) }

    private mutating func skip(_ start: String, to end: String) throws(ObjectStoreError) -> Bool {
      guard has(start) else { return false }
      guard let found = bytes[position...].firstRange(of: Array(end.utf8)) else { throw wrong(end) }
      position = found.upperBound
      return true
    }

    /// Name of a tag whose `<` is read, and whether it ends its own element.
    private mutating func takeTag() throws(ObjectStoreError) -> (name: String, isEmpty: Bool) {
      let start = position
      var quote: UInt8?
      while position < bytes.count, quote != nil || bytes[position] != UInt8(ascii: ">") {
        let byte = bytes[position]
        if let open = quote {
          if byte == open { quote = nil }
        } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
          quote = byte
        } else if byte == UInt8(ascii: "<") {
          throw wrong("the end of a tag")
        }
        position += 1
      }
      guard position < bytes.count else { throw wrong("the end of a tag") }
      var tag = bytes[start..<position]
      position += 1
      let isEmpty = tag.last == UInt8(ascii: "/")
      if isEmpty { tag = tag.dropLast() }
      let name = tag.prefix { $0 > 0x20 }
      guard !name.isEmpty else { throw wrong("the name of an element") }
      return (String(decoding: name, as: UTF8.self), isEmpty)
    }

    private mutating func takeText() throws(ObjectStoreError) -> String {
      let end = bytes[position...].firstIndex(of: UInt8(ascii: "<")) ?? bytes.count
      let raw = bytes[position..<end]
      position = end
      guard raw.contains(UInt8(ascii: "&")) else { return String(decoding: raw, as: UTF8.self) }
      var text = ""
      var rest = String(decoding: raw, as: UTF8.self)[...]
      while let start = rest.firstIndex(of: "&") {
        text += rest[..<start]
        rest = rest[rest.index(after: start)...]
        guard let semicolon = rest.prefix(10).firstIndex(of: ";"),
          let scalar = Self.scalar(rest[..<semicolon])
        else { throw wrong("an entity") }
        text.unicodeScalars.append(scalar)
        rest = rest[rest.index(after: semicolon)...]
      }
      return text + rest
    }

    private static func scalar(_ entity: Substring) -> UnicodeScalar? {
      switch entity {
      case "amp": return "&"
      case "lt": return "<"
      case "gt": return ">"
      case "quot": return "\""
      case "apos": return "'"
      default:
        guard entity.hasPrefix("#") else { return nil }
        let isHex = entity.hasPrefix("#x")
        return UInt32(entity.dropFirst(isHex ? 2 : 1), radix: isHex ? 16 : 10).flatMap { UnicodeScalar($0) }
      }
    }
  }
}
