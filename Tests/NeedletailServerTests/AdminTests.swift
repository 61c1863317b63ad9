import Foundation
import NIOCore
import NIOPosix
import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

@Suite("Admin HTTP", .timeLimit(.minutes(10)))
struct AdminTests {
  private static func withAdmin(
    _ configure: (inout ServerConfiguration) -> Void = { _ in }, _ body: (ListenAddress) async throws -> Void
  ) async throws {
    try await TestServer.with(models: ["m": ModelFixtures.constant(1)]) {
      $0.admin = ListenAddress(host: "127.0.0.1", port: 0)
      configure(&$0)
    } _: { test in
      let address = await test.server.adminAddress()
      try await body(#require(address))
    }
  }

  /// Sends `text` on a connection of its own and reads until the server ends it.
  private static func exchange(_ text: String, _ address: ListenAddress) async throws -> String {
    try await onThread { try exchangeBlocking(Array(text.utf8), port: UInt16(address.port)) }
  }

  /// Runs what blocks on a thread of its own: the few of Swift's tasks belong to the server too.
  private static func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      Thread.detachNewThread { continuation.resume(with: Result(catching: body)) }
    }
  }

  private static func connected(to port: UInt16) throws -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let status = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(status == 0)
    return descriptor
  }

  private static func exchangeBlocking(_ bytes: [UInt8], port: UInt16) throws -> String {
    let descriptor = try connected(to: port)
    defer { close(descriptor) }
    // A server that refuses early may not take all of it.
    _ = send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    var answer: [UInt8] = []
    var room = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = recv(descriptor, &room, room.count, 0)
      guard count > 0 else { return String(decoding: answer, as: UTF8.self) }
      answer += room[..<count]
    }
  }

  private static func request(_ line: String, _ headers: String = "") -> String {
    "\(line) HTTP/1.1\r\nHost: x\r\n\(headers)Connection: close\r\n\r\n"
  }

  @Test func anAnswerHasItsHeaders() async throws {
    try await Self.withAdmin { address in
      let answer = try await Self.exchange(Self.request("GET /livez?a=b"), address)
      #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
      for header in [
        "Content-Type: text/plain; charset=utf-8", "Cache-Control: no-store", "X-Content-Type-Options: nosniff",
        "Content-Length: 5", "Connection: close",
      ] {
        #expect(answer.contains("\r\n\(header)\r\n"), "\(header): \(answer)")
      }
      #expect(answer.contains("\r\nDate: ") && answer.hasSuffix("\r\n\r\nlive\n"))
      let page = try await Self.exchange(Self.request("GET /"), address)
      #expect(page.contains("\r\nContent-Security-Policy: default-src 'none'; style-src 'self'"))
    }
  }

  /// Source: the example of RFC 9110, section 5.6.7.
  @Test func datesAreWrittenAsHTTPWantsThem() {
    #expect(AdminResponse.date(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT")
  }

  @Test(arguments: ["/livez/", "//livez", "/livez?x", "/livez?"])
  func equivalentSpellingsOfAPathAreRecognised(path: String) async throws {
    try await Self.withAdmin { address in
      let answer = try await Self.exchange(Self.request("GET \(path)"), address)
      #expect(answer.hasSuffix("\r\n\r\nlive\n"))
    }
  }

  @Test func headGivesTheHeadersOfGetAndNoBody() async throws {
    try await Self.withAdmin { address in
      let answer = try await Self.exchange(Self.request("HEAD /livez"), address)
      #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n") && answer.contains("\r\nContent-Length: 5\r\n"))
      #expect(answer.hasSuffix("\r\n\r\n"))
    }
  }

  @Test func missingPathsAndMethodsAreAnsweredInWords() async throws {
    try await Self.withAdmin { address in
      let missing = try await Self.exchange(Self.request("GET /nothing"), address)
      #expect(missing.hasPrefix("HTTP/1.1 404 Not Found\r\n"))
      #expect(missing.contains(#"{"error":{"message":"path: expected one of /, "#) && missing.contains("/nothing"))
      let post = try await Self.exchange(Self.request("POST /livez", "Content-Length: 3\r\n") + "abc", address)
      #expect(post.hasPrefix("HTTP/1.1 405 Method Not Allowed\r\n") && post.contains("\r\nAllow: GET, HEAD\r\n"))
      #expect(post.contains("expected GET or HEAD"))
      let query = try await Self.exchange(Self.request("GET /events?limit=3&after=-1"), address)
      #expect(query.hasPrefix("HTTP/1.1 400 Bad Request\r\n"))
      #expect(query.hasSuffix(#"{"error":{"message":"after: expected a whole number, found \"-1\""}}"#))
      let large = try await Self.exchange(Self.request("GET /events?limit=4294967296"), address)
      #expect(large.hasPrefix("HTTP/1.1 400 Bad Request\r\n"))
    }
  }

  @Test func aConnectionStaysForFurtherRequests() async throws {
    try await Self.withAdmin { address in
      let two = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" + Self.request("GET /readyz")
      let answer = try await Self.exchange(two, address)
      #expect(answer.components(separatedBy: "HTTP/1.1 200 OK\r\n").count == 3, "\(answer)")
      #expect(answer.hasSuffix("ready\n"))
      // HTTP/1.0 ends the connection unless it is asked to stay.
      #expect(try await Self.exchange("GET /livez HTTP/1.0\r\n\r\n", address).hasSuffix("live\n"))
      let kept = "GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /livez HTTP/1.0\r\n\r\n"
      #expect(try await Self.exchange(kept, address).components(separatedBy: "live\n").count == 3)
    }
  }

  @Test(arguments: [
    "hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}", "GET\r\n\r\n",
    "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
  ])
  func whatIsNoHTTPIsAnsweredWith400AndClosed(text: String) async throws {
    try await Self.withAdmin { address in
      let answer = try await Self.exchange(text, address)
      #expect(answer.hasPrefix("HTTP/1.1 400 Bad Request\r\n"))
    }
  }

  @Test func requestsBeyondTheLimitsAreRejected() async throws {
    try await Self.withAdmin { address in
      let long = String(repeating: "a", count: Limits.adminHeaderBytesMax + 1)
      let many = (0...Limits.adminHeadersMax).map { "H\($0): x\r\n" }.joined()
      for request in [
        Self.request("GET /\(long)"), Self.request("GET /livez", "X: \(long)\r\n"), Self.request("GET /livez", many),
      ] {
        let answer = try await Self.exchange(request, address)
        #expect(answer.hasPrefix("HTTP/1.1 400 Bad Request\r\n"), "\(answer.prefix(80))")
      }
      let body = String(repeating: "b", count: Limits.adminBodyBytesMax)
      let fits = Self.request("GET /livez", "Content-Length: \(body.utf8.count)\r\n") + body
      #expect(try await Self.exchange(fits, address).hasSuffix("live\n"))
      let chunked = Self.request("GET /livez", "Transfer-Encoding: chunked\r\n") + "10001\r\n\(body)b\r\n"
      #expect(try await Self.exchange(chunked, address).hasPrefix("HTTP/1.1 413 Payload Too Large\r\n"))
      #expect(try await Self.exchange(Self.request("GET /livez"), address).hasSuffix("live\n"))
    }
  }

  /// A client that does not look at the answer before all is sent loses it if the server closes on unread bytes: the
  /// kernel then resets the connection.
  @Test func aRefusedBodyThatIsStillSentDoesNotCostTheAnswer() async throws {
    try await Self.withAdmin { address in
      let body = String(repeating: "b", count: 1 << 20)
      let post = Self.request("POST /livez", "Content-Length: \(body.utf8.count)\r\n") + body
      let large = try await Self.exchange(post, address)
      #expect(large.hasPrefix("HTTP/1.1 413 Payload Too Large\r\n"), "\(large.prefix(80))")
      let header = Self.request("GET /livez", "X: \(body)\r\n")
      let long = try await Self.exchange(header, address)
      #expect(long.hasPrefix("HTTP/1.1 400 Bad Request\r\n"), "\(long.prefix(80))")
    }
  }

  @Test func theConnectionThatWasIdleLongestMakesWay() async throws {
    try await Self.withAdmin({ $0.adminConnectionsMax = 3 }) { address in
      try await Self.onThread {
        let port = UInt16(address.port)
        var room = [UInt8](repeating: 0, count: 4096)
        func ask(_ descriptor: Int32) -> String {
          let text = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
          guard send(descriptor, text, text.utf8.count, Int32(MSG_NOSIGNAL)) == text.utf8.count else { return "" }
          return String(decoding: room[..<max(0, recv(descriptor, &room, room.count, 0))], as: UTF8.self)
        }
        let idle = try (0..<3).map { _ in try Self.connected(to: port) }
        defer { for descriptor in idle { close(descriptor) } }
        for descriptor in idle { #expect(ask(descriptor).hasSuffix("live\n")) }
        // The first asks once more, which makes the second the one that is idle longest.
        #expect(ask(idle[0]).hasSuffix("live\n"))
        let late = try Self.connected(to: port)
        defer { close(late) }
        #expect(ask(late).hasSuffix("live\n"))
        #expect(recv(idle[1], &room, room.count, 0) == 0)
        #expect(ask(idle[0]).hasSuffix("live\n") && ask(idle[2]).hasSuffix("live\n"))
      }
    }
  }

  @Test func connectionsWithARequestUnderWayKeepOthersOutUntilTheyAreOverdue() async throws {
    try await Self.withAdmin({ $0.adminConnectionsMax = 2 }) { address in
      let began = ContinuousClock.now
      try await Self.onThread {
        let port = UInt16(address.port)
        let half = try (0..<2).map { _ in try Self.connected(to: port) }
        defer { for descriptor in half { close(descriptor) } }
        for descriptor in half { #expect(send(descriptor, "GET /", 5, 0) == 5) }
        var room = [UInt8](repeating: 0, count: 64)
        // The server ends them, although they wait for no answer.
        for descriptor in half { #expect(recv(descriptor, &room, room.count, 0) == 0) }
      }
      #expect(ContinuousClock.now - began < .seconds(30))
      #expect(try await Self.exchange(Self.request("GET /livez"), address).hasSuffix("live\n"))
    }
  }

  @Test func aPeerThatEndsItsSideStillGetsItsAnswer() async throws {
    try await Self.withAdmin { address in
      let answer = try await Self.onThread {
        let descriptor = try Self.connected(to: UInt16(address.port))
        defer { close(descriptor) }
        let text = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        #expect(send(descriptor, text, text.utf8.count, 0) == text.utf8.count)
        #expect(shutdown(descriptor, Int32(SHUT_WR)) == 0)
        var room = [UInt8](repeating: 0, count: 4096)
        return String(decoding: room[..<max(0, recv(descriptor, &room, room.count, 0))], as: UTF8.self)
      }
      #expect(answer.hasSuffix("live\n"))
    }
  }

  @Test func stoppingEndsConnectionsThatWait() async throws {
    let test = try await TestServer(models: [:], configure: { $0.admin = ListenAddress(host: "127.0.0.1", port: 0) })
    try await test.server.waitUntilSettled()
    let bound = await test.server.adminAddress()
    let address = try #require(bound)
    async let waiting = Self.exchange("", address)
    async let answered = Self.exchange("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", address)
    try await Task.sleep(for: .milliseconds(100))
    try await test.stop()
    #expect(try await waiting.isEmpty)
    #expect(try await answered.hasSuffix("live\n"))
  }
}
