internal import NIOCore

/// Text as JSON.
enum JSONText {
  /// Writes UTF-8 as a string with its quotes, in the same form as ``quoted(_:)``. Allocates nothing.
  static func write(_ text: UnsafeRawBufferPointer, to body: inout ByteBuffer) {
    body.writeInteger(UInt8(ascii: "\""))
    var first = 0
    for index in text.indices {
      let byte = text[index]
      guard byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") else { continue }
      body.writeBytes(UnsafeRawBufferPointer(rebasing: text[first..<index]))
      first = index + 1
      switch byte {
      case UInt8(ascii: "\""): body.writeStaticString("\\\"")
      case UInt8(ascii: "\\"): body.writeStaticString("\\\\")
      case UInt8(ascii: "\n"): body.writeStaticString("\\n")
      case UInt8(ascii: "\r"): body.writeStaticString("\\r")
      case UInt8(ascii: "\t"): body.writeStaticString("\\t")
      default:
        body.writeStaticString(byte < 0x10 ? "\\u000" : "\\u001")
        body.writeInteger(digits[Int(byte & 0xF)])
      }
    }
    body.writeBytes(UnsafeRawBufferPointer(rebasing: text[first...]))
    body.writeInteger(UInt8(ascii: "\""))
  }

  private static let digits = Array("0123456789abcdef".utf8)

  /// A string with its quotes, all but the characters that must be escaped as they are.
  static func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\n": quoted += "\\n"
      case "\r": quoted += "\\r"
      case "\t": quoted += "\\t"
      case "\u{0}"..<"\u{20}":
        let digits = String(scalar.value, radix: 16)
        quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }
}
