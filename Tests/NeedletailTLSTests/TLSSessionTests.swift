import Foundation
import NIOCore
import NeedletailTLS
import NeedletailTestSupport
import Testing

@Suite("TLS sessions", .timeLimit(.minutes(10)))
struct TLSSessionTests {
  private static func identity(_ pair: Certificates.Pair) throws -> TLSContext.Identity {
    TLSContext.Identity(
      chain: try #require(TLSCertificate.read(path: pair.certificate)),
      key: try #require(TLSPrivateKey.read(path: pair.key)))
  }

  private static func roots(_ authority: Certificates) throws -> [TLSCertificate] {
    try #require(TLSCertificate.read(path: authority.ca))
  }

  /// A client and a server whose bytes go to each other.
  private final class Link {
    let client: TLSSession
    let server: TLSSession
    var clientGot = ByteBuffer()
    var serverGot = ByteBuffer()
    /// Most bytes that are carried at once.
    var piece = Int.max

    init(server: TLSContext, client: TLSContext, serverName: String = "localhost") throws {
      self.client = try TLSSession(.client(client, serverName: serverName))
      self.server = try TLSSession(.server(server))
    }

    /// Carries bytes in both directions until neither side has any.
    func carry() throws {
      while true {
        let toServer = try move(from: client, to: server, &serverGot)
        let toClient = try move(from: server, to: client, &clientGot)
        if !toServer, !toClient { return }
      }
    }

    private func move(from sender: TLSSession, to receiver: TLSSession, _ plain: inout ByteBuffer) throws -> Bool {
      var sealed = ByteBuffer()
      sender.seal(UnsafeRawBufferPointer(start: nil, count: 0), into: &sealed)
      return try give(sealed, to: receiver, &plain)
    }

    func give(_ sealed: ByteBuffer, to receiver: TLSSession, _ plain: inout ByteBuffer) throws -> Bool {
      var sealed = sealed
      guard sealed.readableBytes > 0 else { return false }
      while let bytes = sealed.readBytes(length: min(piece, sealed.readableBytes)), !bytes.isEmpty {
        try bytes.withUnsafeBytes { try receiver.open($0, into: &plain) }
      }
      return true
    }

    func say(_ bytes: [UInt8], from sender: TLSSession) -> ByteBuffer {
      var sealed = ByteBuffer()
      bytes.withUnsafeBytes { sender.seal($0, into: &sealed) }
      return sealed
    }
  }

  private static func link(piece: Int = .max) throws -> Link {
    let authority = try Certificates()
    let server = try TLSContext(server: identity(authority.issue("server")), clientRoots: nil)
    let link = try Link(server: server, client: TLSContext(clientTrusting: roots(authority), identity: nil))
    link.piece = piece
    try link.carry()
    return link
  }

  private static func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) } }

  @Test(arguments: [1, 7, 5000, Int.max])
  func bytesArriveUnchanged(inPiecesOf piece: Int) throws {
    let link = try Self.link(piece: piece)
    #expect(link.client.isReady && link.server.isReady)
    for count in [1, 100, 16_384, 16_385, 100_000] {
      let bytes = Self.pattern(count)
      link.serverGot.clear()
      #expect(try link.give(link.say(bytes, from: link.client), to: link.server, &link.serverGot))
      #expect(link.serverGot.readBytes(length: link.serverGot.readableBytes) == bytes)
      link.clientGot.clear()
      #expect(try link.give(link.say(bytes, from: link.server), to: link.client, &link.clientGot))
      #expect(link.clientGot.readBytes(length: link.clientGot.readableBytes) == bytes)
    }
  }

  @Test func noPlainTextIsSent() throws {
    let link = try Self.link()
    let secret = Array("the answer is forty-two".utf8)
    let sealed = link.say(secret, from: link.client)
    let sent = Array(sealed.readableBytesView)
    #expect(sent.count > secret.count)
    #expect(!(0...(sent.count - secret.count)).contains { Array(sent[$0..<($0 + secret.count)]) == secret })
  }

  @Test func bytesSealedBeforeTheHandshakeFollowIt() throws {
    let authority = try Certificates()
    let server = try TLSContext(server: Self.identity(authority.issue("server")), clientRoots: nil)
    let link = try Link(server: server, client: TLSContext(clientTrusting: Self.roots(authority), identity: nil))
    let hello = link.say([1, 2, 3], from: link.client)
    #expect(try link.give(hello, to: link.server, &link.serverGot))
    #expect(link.serverGot.readableBytes == 0)
    try link.carry()
    #expect(Array(link.serverGot.readableBytesView) == [1, 2, 3])
  }

  @Test func eachSideMayEndItsOwnDirectionFirst() throws {
    let link = try Self.link()
    link.client.end()
    try link.carry()
    #expect(link.server.isInputEnded && !link.client.isInputEnded)
    #expect(try link.give(link.say([9], from: link.server), to: link.client, &link.clientGot))
    #expect(Array(link.clientGot.readableBytesView) == [9])
    link.server.end()
    try link.carry()
    #expect(link.client.isInputEnded)
  }

  @Test(arguments: [
    ("localhost", true), ("127.0.0.1", true), ("a.models.test", true), ("models.test", false),
    ("a.b.models.test", false),
    ("127.0.0.2", false), ("::1", false), ("example.org", false),
  ])
  func aClientChecksTheServersName(name: String, isGood: Bool) throws {
    let authority = try Certificates()
    let pair = try authority.issue("server", names: ["DNS:localhost", "IP:127.0.0.1", "DNS:*.models.test"])
    let link = try Link(
      server: TLSContext(server: Self.identity(pair), clientRoots: nil),
      client: TLSContext(clientTrusting: Self.roots(authority), identity: nil), serverName: name)
    if isGood {
      try link.carry()
      #expect(link.client.isReady)
    } else {
      #expect { try link.carry() } throws: { ($0 as? TLSError)?.reason == .wrongName }
    }
  }

  @Test func aServerNamesTheFaultOfACertificate() throws {
    let authority = try Certificates()
    let server = try TLSContext(
      server: Self.identity(authority.issue("server")), clientRoots: Self.roots(authority))
    func failure(_ pair: Certificates.Pair?) throws -> TLSError? {
      let client = try TLSContext(
        clientTrusting: Self.roots(authority), identity: pair.map { try Self.identity($0) })
      let link = try Link(server: server, client: client)
      do {
        try link.carry()
        #expect(link.server.isReady)
        return nil
      } catch let error as TLSError {
        return error
      }
    }
    #expect(try failure(authority.issue("good")) == nil)
    #expect(try failure(nil)?.reason == .noCertificate)
    let expired = try failure(authority.issue("expired", days: -1))
    #expect(expired?.reason == .untrustedCertificate)
    #expect(expired?.text.contains("expired") == true, "\(expired?.text ?? "")")
    let foreign = try Certificates()
    #expect(try failure(foreign.issue("foreign"))?.reason == .untrustedCertificate)
  }

  @Test func aServerSeesTheNamesOfACertificate() throws {
    let authority = try Certificates()
    let pair = try authority.issue(
      "client", names: ["URI:spiffe://test/a", "IP:10.0.0.1", "DNS:a.test", "email:a@b.c"])
    let link = try Link(
      server: TLSContext(server: Self.identity(authority.issue("server")), clientRoots: Self.roots(authority)),
      client: TLSContext(clientTrusting: Self.roots(authority), identity: Self.identity(pair)))
    try link.carry()
    #expect(link.server.peerCertificate?.names == ["spiffe://test/a", "a.test"])
    #expect(try Self.link().server.peerCertificate == nil)
  }

  @Test(arguments: [
    Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), [0, 0, 0, 4, 8, 1, 16, 2], [UInt8](repeating: 0xFF, count: 64),
    [0x16, 0x03, 0x01, 0xFF, 0xFF, 0x01, 0x00, 0x00],
  ])
  func bytesThatAreNotTLSAreRefusedAtOnceAndForGood(bytes: [UInt8]) throws {
    let authority = try Certificates()
    let server = try TLSSession(.server(TLSContext(server: Self.identity(authority.issue("server")), clientRoots: nil)))
    var plain = ByteBuffer()
    for _ in 0..<2 {
      #expect { try bytes.withUnsafeBytes { try server.open($0, into: &plain) } } throws: {
        ($0 as? TLSError)?.reason == .protocolMismatch
      }
    }
    #expect(plain.readableBytes == 0 && !server.isReady)
  }

  @Test func aRecordThatWasChangedEndsTheSession() throws {
    let link = try Self.link()
    var sealed = link.say(Self.pattern(100), from: link.client)
    let last = sealed.readableBytes - 1
    sealed.setInteger(try #require(sealed.getInteger(at: last, as: UInt8.self)) ^ 1, at: last)
    #expect(throws: TLSError.self) { try link.give(sealed, to: link.server, &link.serverGot) }
    #expect(link.serverGot.readableBytes == 0)
    // The alert that says so reaches the peer.
    #expect { try link.carry() } throws: { ($0 as? TLSError)?.reason == .alert(20) }
  }

  @Test func aKeyOfAnotherCertificateIsRefused() throws {
    let authority = try Certificates()
    let (pair, other) = (try authority.issue("a"), try authority.issue("b"))
    let chain = try #require(TLSCertificate.read(path: pair.certificate))
    let key = try #require(TLSPrivateKey.read(path: other.key))
    #expect(throws: TLSError.self) { try TLSContext(server: .init(chain: chain, key: key), clientRoots: nil) }
    #expect(TLSCertificate.read(path: pair.key) == nil)
    #expect(TLSPrivateKey.read(path: pair.certificate) == nil)
    #expect(TLSCertificate.read(path: "/no/such") == nil)
  }

  @Test func aChainWithOneBrokenCertificateIsRefused() throws {
    let authority = try Certificates()
    let directory = try TemporaryDirectory()
    let good = try String(contentsOfFile: authority.ca, encoding: .utf8)
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    let path = try directory.write(Array((good + broken).utf8), to: "chain.pem")
    #expect(TLSCertificate.read(path: path) == nil)
    let twice = try directory.write(Array((good + "a remark\n" + good).utf8), to: "twice.pem")
    #expect(TLSCertificate.read(path: twice)?.count == 2)
  }
}
