import Foundation
import NeedletailClient
import NeedletailCore
import NeedletailSecurity
import NeedletailTestSupport
import NeedletailWire
import Testing

@testable import NeedletailServer

@Suite("TLS", .timeLimit(.minutes(10)))
struct TLSTests {
  static let models = ["people": ModelFixtures.logistic()]

  private static func connect(
    _ test: TestServer, _ tls: ClientTLS?, _ key: APIKey? = nil
  ) async throws(ClientError) -> NeedletailClient {
    var configuration = NeedletailClient.Configuration()
    configuration.tls = tls
    configuration.apiKey = key?.text
    return try await .connect(to: test.address, configuration: configuration)
  }

  /// What a client that tries one call is told; nil if it is answered.
  private static func failure(_ test: TestServer, _ tls: ClientTLS?, _ key: APIKey? = nil) async -> String? {
    do throws(ClientError) {
      let client = try await connect(test, tls, key)
      defer { Task { await client.close() } }
      _ = try await client.predict("people", inputs: BadCall.good, timeout: .seconds(5))
      return nil
    } catch {
      return "\(error)"
    }
  }

  @Test func callsAreAnsweredOverTLSAndTheServersNameIsChecked() async throws {
    let authority = try Certificates()
    let foreign = try Certificates()
    let pair = try authority.issue("server", names: ["DNS:localhost", "IP:127.0.0.9"])
    try await TestServer.with(
      models: Self.models, configure: { $0.tls = TLSFiles(certificate: pair.certificate, key: pair.key) }
    ) { test in
      let address = await Self.failure(test, ClientTLS(ca: authority.ca))
      #expect(address?.contains("another name") == true, "\(address ?? "")")
      #expect(await Self.failure(test, ClientTLS(ca: authority.ca, serverName: "localhost")) == nil)
      let other = await Self.failure(test, ClientTLS(ca: authority.ca, serverName: "example.org"))
      #expect(other?.contains("another name") == true, "\(other ?? "")")
      let stranger = await Self.failure(test, ClientTLS(ca: foreign.ca, serverName: "localhost"))
      #expect(stranger?.contains("trusted CA") == true, "\(stranger ?? "")")
      #expect(await Self.failure(test, nil) != nil)
      // What stays on the machine is not encrypted.
      let local = try await NeedletailClient.connect(to: .unix(path: test.directory.file("s")))
      #expect(try await local.health().live)
      let metrics = try await local.metrics()
      #expect(
        TestServer.sum(of: "needletail_tls_certificate_not_after_seconds", [:], in: metrics)
          > Date().timeIntervalSince1970)
      #expect(TestServer.sum(of: "needletail_tls_handshake_failures_total", ["reason": "protocol"], in: metrics) == 1)
      #expect(
        TestServer.sum(of: "needletail_tls_handshake_failures_total", ["reason": "server_certificate"], in: metrics)
          >= 1)
      await local.close()
    }
  }

  @Test func mutualTLSAcceptsCertificatesOfTheClientCA() async throws {
    let authority = try Certificates()
    let foreign = try Certificates()
    let pair = try authority.issue("server")
    let good = try authority.issue("good")
    let expired = try authority.issue("expired", days: -1)
    let wrong = try foreign.issue("wrong")
    try await TestServer.with(
      models: Self.models,
      configure: { $0.tls = TLSFiles(certificate: pair.certificate, key: pair.key, clientCA: authority.ca) }
    ) { test in
      func tls(_ pair: Certificates.Pair?) -> ClientTLS {
        ClientTLS(ca: authority.ca, certificate: pair?.certificate, key: pair?.key)
      }
      #expect(await Self.failure(test, tls(good)) == nil)
      let none = await Self.failure(test, tls(nil))
      #expect(none?.contains("asks for a client certificate") == true, "\(none ?? "")")
      for pair in [expired, wrong] {
        let refused = await Self.failure(test, tls(pair))
        #expect(refused?.contains("refused the client's certificate") == true, "\(refused ?? "")")
      }
      let client = try await Self.connect(test, tls(good))
      #expect(
        TestServer.sum(
          of: "needletail_tls_handshake_failures_total", ["reason": "client_certificate"],
          in: try await client.metrics()) == 3)
      await client.close()
    }
  }

  @Test func aClientCertificateMayReplaceAKey() async throws {
    let authority = try Certificates()
    let pair = try authority.issue("server")
    let billing = try authority.issue("billing", names: ["URI:spiffe://test/billing", "DNS:billing.internal"])
    let other = try authority.issue("other", names: ["DNS:other.internal"])
    let key = APIKey()
    let file = try KeyFileFixture(
      """
      certificates:
        - {name: billing, subject: "spiffe://test/billing", calls: [predict]}
      keys:
      \(KeyFileFixture.entry("checkout", key))
      """)
    try await TestServer.with(
      models: Self.models,
      configure: {
        $0.tls = TLSFiles(certificate: pair.certificate, key: pair.key, clientCA: authority.ca)
        $0.apiKeys = file.path
      }
    ) { test in
      let mine = ClientTLS(ca: authority.ca, certificate: billing.certificate, key: billing.key)
      #expect(await Self.failure(test, mine) == nil)
      let client = try await Self.connect(test, mine)
      await #expect(
        throws: ClientError(
          .permissionDenied, origin: .server, "certificate \"billing\" may not health: expected one of predict")
      ) {
        try await client.health()
      }
      await client.close()
      let theirs = ClientTLS(ca: authority.ca, certificate: other.certificate, key: other.key)
      let unknown = await Self.failure(test, theirs)
      #expect(unknown?.contains("UNAUTHENTICATED") == true && unknown?.contains("other.internal") == true)
      #expect(await Self.failure(test, theirs, key) == nil)
    }
  }

  @Test func aNewCertificateIsLoadedAndABrokenOneIsNot() async throws {
    let first = try Certificates()
    let second = try Certificates()
    let old = try first.issue("server")
    let new = try second.issue("server")
    // As a ConfigMap is mounted: the files are links through a link that is swapped.
    let mount = try TemporaryDirectory()
    func put(_ version: String, certificate: String, key: String) throws {
      let directory = mount.file(version)
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
      try FileManager.default.copyItem(atPath: certificate, toPath: directory + "/tls.crt")
      try FileManager.default.copyItem(atPath: key, toPath: directory + "/tls.key")
      try FileManager.default.createSymbolicLink(atPath: mount.file("next"), withDestinationPath: version)
      #expect(rename(mount.file("next"), mount.file("..data")) == 0)
    }
    try put("1", certificate: old.certificate, key: old.key)
    for name in ["tls.crt", "tls.key"] {
      try FileManager.default.createSymbolicLink(atPath: mount.file(name), withDestinationPath: "..data/\(name)")
    }
    try await TestServer.with(
      models: Self.models,
      configure: {
        $0.tls = TLSFiles(certificate: mount.file("tls.crt"), key: mount.file("tls.key"))
        $0.reload = .milliseconds(10)
      }
    ) { test in
      func metric(_ name: String, _ labels: [String: String] = [:]) async throws -> Double {
        let local = try await NeedletailClient.connect(to: .unix(path: test.directory.file("s")))
        let metrics = try await local.metrics()
        await local.close()
        return TestServer.sum(of: name, labels, in: metrics)
      }
      func reloads(_ outcome: String) async throws -> Double {
        try await metric("needletail_tls_reloads_total", ["outcome": outcome])
      }
      // The gauge stays as long as the fault, for the alert NeedletailTLSFiles.
      func waitUntilInvalid(_ value: Double) async throws {
        while try await metric("needletail_tls_files_invalid") != value { try await Task.sleep(for: .milliseconds(5)) }
      }
      let standing = try await Self.connect(test, ClientTLS(ca: first.ca))
      // A certificate whose key has not come; one that ended; none at all.
      try put("2", certificate: new.certificate, key: old.key)
      while try await reloads("refused") < 1 { try await Task.sleep(for: .milliseconds(5)) }
      let expired = try second.issue("expired", days: -1)
      try put("3", certificate: expired.certificate, key: expired.key)
      while try await reloads("refused") < 2 { try await Task.sleep(for: .milliseconds(5)) }
      try put("4", certificate: new.key, key: new.key)
      while try await reloads("refused") < 3 { try await Task.sleep(for: .milliseconds(5)) }
      try await waitUntilInvalid(1)
      #expect(await Self.failure(test, ClientTLS(ca: first.ca)) == nil)
      #expect(try await reloads("loaded") == 0)
      #expect(test.log.lines.filter { $0.contains("certificate not reloaded") }.count == 3)

      try put("5", certificate: new.certificate, key: new.key)
      while try await reloads("loaded") < 1 { try await Task.sleep(for: .milliseconds(5)) }
      try await waitUntilInvalid(0)
      #expect(await Self.failure(test, ClientTLS(ca: second.ca)) == nil)
      #expect(await Self.failure(test, ClientTLS(ca: first.ca)) != nil)
      // A connection that stood before stays.
      #expect(try await standing.predict("people", inputs: BadCall.good).version == 1)
      await standing.close()
    }
  }

  @Test func aHandshakeThatDoesNotEndIsEnded() async throws {
    let authority = try Certificates()
    let pair = try authority.issue("server")
    try await TestServer.with(
      models: Self.models,
      configure: {
        $0.tls = TLSFiles(certificate: pair.certificate, key: pair.key)
        $0.limits.handshake = .milliseconds(200)
      }
    ) { test in
      let silent = try await RawConnection.connect(to: test.address)
      // The beginning of a ClientHello.
      silent.push([0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
      #expect(await silent.rest().isEmpty)
      let client = try await Self.connect(test, ClientTLS(ca: authority.ca))
      #expect(
        TestServer.sum(
          of: "needletail_tls_handshake_failures_total", ["reason": "timeout"], in: try await client.metrics()) == 1)
      // One that has ended its own in time stays.
      try await Task.sleep(for: .milliseconds(400))
      #expect(try await client.health().live)
      await client.close()
    }
  }

  @Test func aDrainingServerAnswersAndSendsGoAwayOverTLS() async throws {
    let authority = try Certificates()
    let pair = try authority.issue("server")
    let test = try await TestServer(
      models: Self.models, configure: { $0.tls = TLSFiles(certificate: pair.certificate, key: pair.key) })
    try await test.server.waitUntilSettled()
    let client = try await Self.connect(test, ClientTLS(ca: authority.ca))
    #expect(try await client.health().ready)
    try await test.stop()
    do throws(ClientError) {
      _ = try await client.health()
      Issue.record("a stopped server answered")
    } catch {
      #expect(error.origin == .goAway && error.isSafeToRetry, "\(error)")
    }
  }

  @Test func unusableTLSFilesAreReportedInOneLine() async throws {
    let authority = try Certificates()
    let pair = try authority.issue("server")
    let other = try authority.issue("other")
    func failure(_ files: TLSFiles) -> String {
      do {
        _ = try TLSSource(files)
        return "accepted"
      } catch {
        return error.message
      }
    }
    #expect(
      failure(TLSFiles(certificate: "/no/such", key: pair.key))
        == "tls_certificate /no/such: expected readable certificates (PEM), found none")
    #expect(failure(TLSFiles(certificate: pair.certificate, key: pair.certificate)).hasPrefix("tls_key "))
    #expect(failure(TLSFiles(certificate: pair.certificate, key: other.key)).contains("found another"))
    #expect(
      failure(TLSFiles(certificate: pair.certificate, key: pair.key, clientCA: pair.key)).hasPrefix("tls_client_ca "))
    #expect(failure(TLSFiles(certificate: pair.certificate, key: pair.key)) == "accepted")
    let expired = try authority.issue("expired", days: -1)
    #expect(
      failure(TLSFiles(certificate: expired.certificate, key: expired.key))
        == "tls_certificate \(expired.certificate): expected a valid certificate, found an expired one")
    let noList = TLSFiles(
      certificate: pair.certificate, key: pair.key, clientCA: authority.ca, clientCRL: pair.certificate)
    #expect(failure(noList).hasPrefix("tls_client_crl "))
  }

  @Test func aRevokedCertificateIsRefused() async throws {
    let authority = try Certificates()
    let server = try authority.issue("server")
    let good = try authority.issue("good")
    let bad = try authority.issue("bad")
    let list = try authority.revoke([bad])
    try await TestServer.with(
      models: Self.models,
      configure: {
        $0.tls = TLSFiles(
          certificate: server.certificate, key: server.key, clientCA: authority.ca, clientCRL: list)
      }
    ) { test in
      func tls(_ pair: Certificates.Pair) -> ClientTLS {
        ClientTLS(ca: authority.ca, certificate: pair.certificate, key: pair.key)
      }
      #expect(await Self.failure(test, tls(good)) == nil)
      let refused = await Self.failure(test, tls(bad))
      #expect(refused?.contains("refused the client's certificate") == true, "\(refused ?? "")")
    }
  }
}
