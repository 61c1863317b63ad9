import Logging
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

@Suite("Starting", .timeLimit(.minutes(10)))
struct StartTests {
  private func failure(_ configure: (inout ServerConfiguration) -> Void) async throws -> String {
    let directory = try TemporaryDirectory()
    var configuration = ServerConfiguration(store: directory.path, allowUnsigned: true)
    configuration.listen = ListenAddress(host: "127.0.0.1", port: 0)
    configuration.admin = nil
    configuration.threads = 1
    configure(&configuration)
    do {
      let server = try await NeedletailServer(configuration, logger: LogRecorder().logger, signals: false)
      try await server.run()
      return "ran"
    } catch let error as ConfigurationError {
      return error.message
    }
  }

  @Test func aPortInUseIsReportedInOneLine() async throws {
    try await TestServer.with { test in
      let taken = try #require(test.server.tcpAddress)
      let tcp = try await failure { $0.listen = taken }
      let admin = try await failure { $0.admin = taken }
      #expect(tcp == "--listen \(taken): expected a free address, found it in use")
      #expect(admin == "--admin \(taken): expected a free address, found it in use")
      let path = test.directory.file("s")
      let unix = try await failure { $0.unix = path }
      #expect(unix.contains("another process listens on"))
    }
  }

  @Test func aMissingStoreIsReportedInOneLine() async throws {
    let message = try await failure { $0.store = "/no/such" }
    #expect(message == "--store /no/such: expected a directory, found nothing")
  }

  @Test func aBadTrustFileIsReportedInOneLine() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write(Array("kees: []".utf8), to: "trust.yaml")
    let message = try await failure {
      $0.allowUnsigned = false
      $0.trust = path
    }
    #expect(message.hasPrefix("--trust \(path): ") && message.contains("kees"), "\(message)")
  }

  @Test func aFileOfAnotherKindIsNotTakenForASocket() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write([1], to: "s")
    let other = try await failure { $0.unix = path }
    #expect(other.contains("a file of another kind"))
    #expect(try directory.entries() == ["s"])
    let long = try await failure { $0.unix = "/" + String(repeating: "a", count: 200) }
    #expect(long.contains("201"))
  }
}
