import Foundation
import Glibc
import NeedletailCore
import NeedletailSystem
import Synchronization

/// A server of HTTP that answers the requests of any connections with prepared bytes, one after the other, and remembers
/// what it was asked. It stops after its last answer.
final class ScriptedServer: Sendable {
  struct Request: Sendable {
    var line: String
    var head: String
    var body: String
  }

  struct Answer: Sendable {
    var bytes: String
    /// Whether the connection is closed behind it.
    var closes = false

    static func ok(_ body: String = "", fields: String = "") -> Answer {
      Answer(bytes: "HTTP/1.1 200 OK\r\n\(fields)Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
    }

    static func status(_ status: Int, _ body: String = "", fields: String = "") -> Answer {
      Answer(bytes: "HTTP/1.1 \(status) X\r\n\(fields)Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
    }

    static func error(_ status: Int, _ code: String, fields: String = "") -> Answer {
      .status(status, "<Error><Code>\(code)</Code><Message>no</Message></Error>", fields: fields)
    }

    static func cut(_ bytes: String) -> Answer { Answer(bytes: bytes, closes: true) }
    static let none = Answer(bytes: "", closes: true)
  }

  let port: Int
  private let listener: FileDescriptor
  private let requests = Mutex<[Request]>([])

  init(_ answers: [Answer]) throws {
    listener = FileDescriptor(owning: socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0), path: "listener")
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let number = listener.number
    let status = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
        bind(number, generic, size) == 0 && listen(number, 8) == 0 && getsockname(number, generic, &size) == 0
      }
    }
    guard status else { throw SystemError("listen") }
    port = Int(UInt16(bigEndian: address.sin_port))
    Thread { [self] in serve(answers) }.start()
  }

  var asked: [Request] { requests.withLock { $0 } }

  /// Runs blocking code on a thread of its own, so that it holds up no other test.
  static func run<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
      Thread { continuation.resume(with: Swift.Result { try body() }) }.start()
    }
  }

  private func serve(_ answers: [Answer]) {
    var answers = answers[...]
    while !answers.isEmpty {
      let connection = FileDescriptor(owning: accept(listener.number, nil, nil), path: "connection")
      guard connection.number >= 0 else { return }
      while let answer = answers.first, let request = receive(connection) {
        answers.removeFirst()
        requests.withLock { $0.append(request) }
        var rest = Array(answer.bytes.replacingOccurrences(of: "{write}", with: lastWriter).utf8)[...]
        while !rest.isEmpty {
          let count = rest.withUnsafeBytes { send(connection.number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
          guard count > 0 else { break }
          rest = rest.dropFirst(count)
        }
        if answer.closes { break }
      }
    }
  }

  /// Name of the last write that was asked for; `{write}` in an answer stands for it.
  private var lastWriter: String {
    let field = "x-amz-meta-needletail-write: "
    return asked.lazy.reversed().compactMap { request in
      request.head.split(separator: "\r\n").first { $0.hasPrefix(field) }.map { String($0.dropFirst(field.count)) }
    }.first ?? ""
  }

  private func receive(_ connection: borrowing FileDescriptor) -> Request? {
    var bytes: [UInt8] = []
    func more() -> Bool {
      var piece = [UInt8](repeating: 0, count: 1 << 16)
      let count = recv(connection.number, &piece, piece.count, 0)
      guard count > 0 else { return false }
      bytes += piece[..<count]
      return true
    }
    while bytes.firstRange(of: Array("\r\n\r\n".utf8)) == nil { guard more() else { return nil } }
    let text = String(decoding: bytes, as: UTF8.self)
    let end = text.firstRange(of: "\r\n\r\n")!
    let head = String(text[..<end.lowerBound])
    let length = head.split(separator: "\r\n").first { $0.hasPrefix("content-length: ") }.flatMap {
      Int($0.dropFirst(16))
    }
    let start = head.utf8.count + 4
    while bytes.count < start + (length ?? 0) { guard more() else { return nil } }
    return Request(
      line: String(head.split(separator: "\r\n")[0]), head: head, body: String(decoding: bytes[start...], as: UTF8.self)
    )
  }
}
