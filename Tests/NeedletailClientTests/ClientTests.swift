import Foundation
import NIOCore
import NIOPosix
import NeedletailClient
import Synchronization
import Testing

@Suite("Client", .timeLimit(.minutes(10)))
struct ClientTests {
  private func connect(_ server: ScriptedServer) async throws -> NeedletailClient {
    try await .connect(to: .tcp(host: server.address.host, port: server.address.port))
  }

  private func error(_ body: () async throws -> Void) async -> ClientError? {
    do {
      try await body()
      return nil
    } catch {
      return error as? ClientError
    }
  }

  @Test("matches answers by id when they come in reverse")
  func outOfOrder() async throws {
    let held = Mutex<[ScriptedServer.Received]>([])
    let server = try await ScriptedServer.start { request, channel in
      let all = held.withLock {
        $0.append(request)
        return $0.count == 20 ? $0 : []
      }
      for request in all.reversed() { channel.send(echo(request)) }
    }
    let client = try await connect(server)
    let answers = try await withThrowingTaskGroup(of: (String, String).self) { group in
      for index in 0..<20 {
        group.addTask { ("model-\(index)", try await client.predict("model-\(index)", inputs: []).model) }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(answers.count == 20)
    for (asked, answered) in answers { #expect(asked == answered) }
    await client.close()
    try await server.stop()
  }

  @Test("works over a Unix socket")
  func unixSocket() async throws {
    let path = NSTemporaryDirectory() + "nt-\(UInt32.random(in: 0 ... .max)).sock"
    let server = try await ScriptedServer.start(unixPath: path) { request, channel in
      channel.send { ResponseEncoder.appendMetrics(id: request.id, "a 1\n", to: &$0) }
    }
    let client = try await NeedletailClient.connect(to: .unix(path: path))
    #expect(try await client.metrics() == "a 1\n")
    await client.close()
    try await server.stop()
    try? FileManager.default.removeItem(atPath: path)
  }

  @Test("a call ends at its deadline, tells the server its budget, and a late answer is ignored")
  func deadline() async throws {
    let budget = Mutex<UInt32>(0)
    let server = try await ScriptedServer.start { request, channel in
      if request.call == "predict slow" {
        budget.withLock { $0 = request.timeoutMicroseconds }
        channel.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(120)) { channel.send(echo(request)) }
      } else {
        channel.send(echo(request))
      }
    }
    let client = try await connect(server)
    let failure = await error { _ = try await client.predict("slow", inputs: [], timeout: .milliseconds(30)) }
    #expect(failure?.code == .deadlineExceeded)
    #expect(failure?.origin == .deadline)
    #expect(failure?.isSafeToRetry == false)
    #expect(budget.withLock { $0 } == 30_000)
    try await Task.sleep(for: .milliseconds(150))
    #expect(try await client.predict("quick", inputs: []).model == "quick")
    await client.close()
    try await server.stop()
  }

  @Test("a status becomes an error with its code, message and retry time")
  func statuses() async throws {
    let server = try await ScriptedServer.start { request, channel in
      channel.send {
        ResponseEncoder.appendError(
          id: request.id, ServingError(.overloaded, "queue full: 512 of 512", retryAfterMicroseconds: 2500), to: &$0)
      }
    }
    let client = try await connect(server)
    let failure = await error { _ = try await client.health() }
    #expect(
      failure
        == ClientError(
          .overloaded, origin: .server, "queue full: 512 of 512", retryAfterMicroseconds: 2500, isSafeToRetry: true))
    await client.close()
    try await server.stop()
  }

  @Test("GoAway fails the calls it did not execute as safe to retry, answers the others, refuses new ones")
  func goAway() async throws {
    let server = try await ScriptedServer.start { request, channel in
      guard request.call == "predict second" else { return }
      // The first call is answered after the GoAway; the second one was not executed.
      channel.send { ResponseEncoder.appendGoAway(lastID: request.id - 1, to: &$0) }
      channel.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(50)) {
        channel.send(echo(.init(id: request.id - 1, timeoutMicroseconds: 0, call: "predict first")))
      }
    }
    let client = try await connect(server)
    async let first = client.predict("first", inputs: [])
    try await Task.sleep(for: .milliseconds(20))
    let refused = await error { _ = try await client.predict("second", inputs: []) }
    #expect(refused?.origin == .goAway)
    #expect(refused?.code == .unavailable)
    #expect(refused?.isSafeToRetry == true)
    let late = await error { _ = try await client.health() }
    #expect(late?.origin == .goAway)
    #expect(try await first.model == "first")
    let ended = await error { _ = try await client.health() }
    #expect(ended?.code == .unavailable)
    #expect(ended?.isSafeToRetry == true)
    try await server.stop()
  }

  @Test("a lost connection fails the calls in flight, as maybe executed")
  func connectionLost() async throws {
    let server = try await ScriptedServer.start { _, channel in channel.close(promise: nil) }
    let client = try await connect(server)
    let failure = await error { _ = try await client.listModels() }
    #expect(failure?.origin == .connectionLost)
    #expect(failure?.isSafeToRetry == false)
    try await server.stop()
  }

  @Test("bytes that are no answer end the connection")
  func garbage() async throws {
    let server = try await ScriptedServer.start { _, channel in
      channel.send { $0.writeBytes([0, 0, 0, 2, 0xff, 0xff]) }
    }
    let client = try await connect(server)
    let failure = await error { _ = try await client.listModels() }
    #expect(failure?.origin == .protocolViolation)
    try await server.stop()
  }

  @Test("a complaint about the connection is told to the calls it took down")
  func complaint() async throws {
    let server = try await ScriptedServer.start { _, channel in
      channel.send { ResponseEncoder.appendError(id: 0, .invalidArgument("frame too long"), to: &$0) }
      channel.close(promise: nil)
    }
    let client = try await connect(server)
    let failure = await error { _ = try await client.health() }
    #expect(failure?.message == "frame too long")
    try await server.stop()
  }

  @Test("a cancelled task gets its call back at once")
  func cancellation() async throws {
    let server = try await ScriptedServer.start { _, _ in }
    let client = try await connect(server)
    let call = Task { await error { _ = try await client.health() } }
    try await Task.sleep(for: .milliseconds(30))
    call.cancel()
    #expect(await call.value?.origin == .cancelled)
    let already = Task { await error { _ = try await client.health() } }
    already.cancel()
    #expect(await already.value?.origin == .cancelled)
    await client.close()
    try await server.stop()
  }

  @Test("closing fails calls in flight and later ones")
  func closing() async throws {
    let server = try await ScriptedServer.start { _, _ in }
    let client = try await connect(server)
    let call = Task { await error { _ = try await client.health() } }
    try await Task.sleep(for: .milliseconds(30))
    await client.close()
    #expect(await call.value?.origin == .closed)
    #expect(await error { _ = try await client.health() }?.origin == .closed)
    try await server.stop()
  }

  @Test("a refused connection says where and why")
  func refused() async throws {
    let server = try await ScriptedServer.start { _, _ in }
    let port = server.address.port
    try await server.stop()
    let failure = await error { _ = try await NeedletailClient.connect(to: .tcp(host: "127.0.0.1", port: port)) }
    #expect(failure?.message == "cannot connect to 127.0.0.1:\(port): connection refused")
    #expect(failure?.isSafeToRetry == true)
    let missing = await error { _ = try await NeedletailClient.connect(to: .unix(path: "/nonexistent/x.sock")) }
    #expect(missing?.message == "cannot connect to unix:/nonexistent/x.sock: no such file or directory")
  }
}

@Suite("Server address")
struct AddressTests {
  @Test("reads host and port, IPv6 and Unix paths")
  func addressesAreParsed() throws {
    #expect(try ServerAddress("localhost:6470") == .tcp(host: "localhost", port: 6470))
    #expect(try ServerAddress("[::1]:1") == .tcp(host: "::1", port: 1))
    #expect(try ServerAddress("unix:/run/x.sock") == .unix(path: "/run/x.sock"))
    #expect(ServerAddress.tcp(host: "::1", port: 1).description == "[::1]:1")
  }

  @Test("refuses what is no address", arguments: ["", "host", "host:", "host:0", "host:65536", ":1", "::1:5", "unix:"])
  func textThatIsNoAddressIsRefused(_ text: String) {
    let error = #expect(throws: ClientError.self) { try ServerAddress(text) }
    #expect(error?.origin == .invalidInput)
  }
}
