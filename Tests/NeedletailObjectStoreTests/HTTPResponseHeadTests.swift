import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailObjectStore

@Suite("Heads of HTTP responses")
struct HTTPResponseHeadTests {
  private func head(_ text: String, method: String = "GET") throws -> HTTPResponseHead {
    try HTTPResponseHead(Array(text.utf8), method: method)
  }

  @Test func findsTheEndOfTheBody() throws {
    #expect(try head("HTTP/1.1 200 OK\r\nContent-Length: 12").framing == .length(12))
    #expect(try head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked").framing == .chunked)
    #expect(try head("HTTP/1.1 500 Oops").framing == .untilClose)
    #expect(try head("HTTP/1.1 204 None\r\nContent-Length: 12").framing == .none)
    #expect(try head("HTTP/1.1 200 OK\r\nContent-Length: 12", method: "HEAD").framing == .none)
  }

  @Test func knowsWhetherTheConnectionStays() throws {
    #expect(try head("HTTP/1.1 200 OK\r\nContent-Length: 0").keepsAlive)
    #expect(try !head("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close").keepsAlive)
    #expect(try !head("HTTP/1.0 200 OK\r\nContent-Length: 0").keepsAlive)
    #expect(try !head("HTTP/1.1 200 OK").keepsAlive)
  }

  @Test func takesNamesInAnyCaseAndValuesWithoutBlanks() throws {
    let head = try head("HTTP/1.1 200\r\nETag: \t\"a\" \r\nx-AMZ-Meta-B:c")
    #expect(head["etag"] == "\"a\"")
    #expect(head["x-amz-meta-b"] == "c")
  }

  @Test(arguments: [
    "", "HTTP/2 200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 999 Odd", "HTTP/1.1 200 OK\r\nno colon",
    "HTTP/1.1 200 OK\r\n: value", "HTTP/1.1 200 OK\r\nspaced name: x", "HTTP/1.1 200 OK\r\nContent-Length: -1",
    "HTTP/1.1 200 OK\r\nContent-Length: 1x", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
    "HTTP/1.1 200 OK" + String(repeating: "\r\na: b", count: 101),
  ])
  func refusesWhatCouldBeReadInTwoWays(text: String) {
    #expect(throws: ObjectStoreError.self) { try head(text) }
  }

  @Test func endsInAHeadOrAnErrorWhateverItReads() {
    let whole = Array("HTTP/1.1 200 OK\r\nContent-Length: 12\r\nETag: \"a\"\r\nConnection: close\r\nX: y".utf8)
    var random = SplitMix64(seed: 2)
    var parsed = 0
    for _ in 0..<20_000 {
      var bytes = whole
      random.mutate(&bytes)
      if (try? HTTPResponseHead(bytes, method: "GET")) != nil { parsed += 1 }
    }
    #expect((1..<20_000).contains(parsed))
  }
}
