internal import NeedletailCore

/// Quality of the texts of one column: how many a model can hardly learn from, and why.
struct TextQuality: Equatable {
  /// Texts that are there.
  private(set) var texts = 0
  private(set) var words = 0
  private(set) var bytesMax = 0
  /// Texts of fewer than ``wordsMin`` words.
  private(set) var short = 0
  /// Texts that equal an earlier one but for the case of ASCII letters and white space.
  private(set) var repeated = 0
  /// Texts with a tag or an entity of HTML.
  private(set) var markup = 0
  /// Texts with signs of a wrong encoding: U+FFFD, or UTF-8 that was read as Latin-1 and written again.
  private(set) var garbled = 0
  /// Texts with control characters other than tabs and line ends.
  private(set) var controls = 0
  /// Texts with at least one of these faults.
  private(set) var faulty = 0
  private var seen: Set<UInt64> = []

  static let wordsMin = 3
  /// Different texts that are told apart, 8 bytes each; further ones do not count as repeated.
  static let textsMax = 1 << 22

  /// 100 × the share of texts without any of the faults.
  var score: Double { texts > 0 ? 100 * (1 - Double(faulty) / Double(texts)) : 100 }
  var wordsMean: Double { texts > 0 ? Double(words) / Double(texts) : 0 }

  /// The faults by their names in reports.
  var faults: [(name: String, count: Int)] {
    [("short", short), ("repeated", repeated), ("markup", markup), ("garbled", garbled), ("controls", controls)]
  }

  mutating func add(_ text: UnsafeBufferPointer<UInt8>) {
    texts += 1
    bytesMax = max(bytesMax, text.count)
    var found = Findings()
    found.scan(text)
    words += found.words
    let isShort = found.words < Self.wordsMin
    let isRepeated = seen.contains(found.hash) || (seen.count < Self.textsMax && !seen.insert(found.hash).inserted)
    short += isShort ? 1 : 0
    repeated += isRepeated ? 1 : 0
    markup += found.hasMarkup ? 1 : 0
    garbled += found.isGarbled ? 1 : 0
    controls += found.hasControls ? 1 : 0
    let isFaulty = isShort || isRepeated || found.hasMarkup || found.isGarbled || found.hasControls
    faulty += isFaulty ? 1 : 0
  }

  /// What one text holds.
  private struct Findings {
    var words = 0
    /// FNV-1a of the words in lower case with one space between them.
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    var hasMarkup = false
    var isGarbled = false
    var hasControls = false

    private mutating func mix(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }

    mutating func scan(_ text: UnsafeBufferPointer<UInt8>) {
      var isInWord = false
      var index = 0
      while index < text.count {
        let byte = text[index]
        if byte == 0x20 || (0x09...0x0D).contains(byte) {
          isInWord = false
        } else {
          if !isInWord {
            if words > 0 { mix(0x20) }
            words += 1
            isInWord = true
          }
          mix((0x41...0x5A).contains(byte) ? byte | 0x20 : byte)
          look(at: text, index)
        }
        index += 1
      }
    }

    private mutating func look(at text: UnsafeBufferPointer<UInt8>, _ index: Int) {
      func byte(_ offset: Int) -> UInt8 { index + offset < text.count ? text[index + offset] : 0 }
      switch text[index] {
      case ..<0x20, 0x7F: hasControls = true
      case UInt8(ascii: "<") where Self.isLetter(byte(1)) || byte(1) == UInt8(ascii: "/"):
        hasMarkup = hasMarkup || text[(index + 1)...].prefix(64).contains(UInt8(ascii: ">"))
      case UInt8(ascii: "&") where Self.isLetter(byte(1)) || byte(1) == UInt8(ascii: "#"):
        hasMarkup = hasMarkup || Self.isEntity(text[(index + 1)...].prefix(10))
      case 0xEF: isGarbled = isGarbled || (byte(1) == 0xBF && byte(2) == 0xBD)
      case 0xC3:
        // Ã or Â before a character from U+0080 to U+00BF: the two bytes of a Latin letter, each taken for a character.
        let isLetter = (byte(1) == 0x82 || byte(1) == 0x83) && byte(2) == 0xC2
        // â€, with which quotes and dashes begin where their bytes were taken for Windows-1252.
        let isMark = byte(1) == 0xA2 && byte(2) == 0xE2 && byte(3) == 0x82 && byte(4) == 0xAC
        isGarbled = isGarbled || isLetter || isMark
      default: break
      }
    }

    /// True where letters, digits and `#` end with a semicolon, as in `&amp;` and `&#39;`.
    private static func isEntity(_ text: Slice<UnsafeBufferPointer<UInt8>>) -> Bool {
      guard let end = text.firstIndex(of: UInt8(ascii: ";")), end > text.startIndex else { return false }
      return text[..<end].allSatisfy { isLetter($0) || $0 == UInt8(ascii: "#") || $0 &- UInt8(ascii: "0") < 10 }
    }

    private static func isLetter(_ byte: UInt8) -> Bool { (byte | 0x20) &- 0x61 < 26 }
  }
}
