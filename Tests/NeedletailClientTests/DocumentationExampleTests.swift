import NIOCore
import NeedletailClient
import Synchronization
import Testing

/// Runs the examples of the catalog against a scripted server.
@Suite("Examples of the client's catalog", .timeLimit(.minutes(10)))
struct DocumentationExampleTests {
  private func address(of server: ScriptedServer) -> ServerAddress {
    .tcp(host: server.address.host, port: server.address.port)
  }

  @Test("predictions of dense rows and of columns are answered")
  func examplesOfPredictionsAreAnswered() async throws {
    let server = try await ScriptedServer.start { request, channel in channel.send(echo(request)) }
    let client = try await NeedletailClient.connect(to: address(of: server))
    // The scripted model has no outputs.
    #expect(try await DocumentationExamples.predictDense(client).isEmpty)
    #expect(try await DocumentationExamples.predictColumns(client).model == "churn")
    try await DocumentationExamples.chooseVersion(client, inputs: [])
    #expect(try await DocumentationExamples.inFlight(client, batches: [[], [], []]).count == 3)
    await client.close()
    try await server.stop()
  }

  @Test("the error example tells a wrong request from one that is worth repeating")
  func theErrorExampleDistinguishesWrongRequestsFromOverload() async throws {
    let calls = Atomic(0)
    let server = try await ScriptedServer.start { request, channel in
      let isFirst = calls.wrappingAdd(1, ordering: .relaxed).oldValue == 0
      channel.send {
        let error =
          isFirst ? ServingError.invalidArgument("features: expected 13, found 3") : ServingError(.overloaded, "busy")
        ResponseEncoder.appendError(id: request.id, error, to: &$0)
      }
    }
    let client = try await NeedletailClient.connect(to: address(of: server))
    #expect(
      await DocumentationExamples.handleErrors(client, inputs: []) == "mend the request: features: expected 13, found 3"
    )
    #expect(await DocumentationExamples.handleErrors(client, inputs: []) == "try again: busy")
    await client.close()
    try await server.stop()
  }

  @Test("the retry example repeats calls that were not executed, and no others", arguments: [true, false])
  func theRetryExampleRepeatsOnlyCallsThatWereNotExecuted(isSafe: Bool) async {
    let calls = Atomic(0)
    let outcome: Result<Int, ClientError>
    do throws(ClientError) {
      outcome = .success(
        try await withRetries { () throws(ClientError) in
          let attempt = calls.wrappingAdd(1, ordering: .relaxed).newValue
          if attempt < 3 { throw ClientError(.unavailable, origin: .goAway, "stopping", isSafeToRetry: isSafe) }
          return attempt
        })
    } catch {
      outcome = .failure(error)
    }
    if isSafe {
      #expect(outcome == .success(3))
    } else {
      #expect(throws: ClientError.self) { try outcome.get() }
      #expect(calls.load(ordering: .relaxed) == 1)
    }
  }

  @Test("the reconnecting example goes on after GoAway")
  func theReconnectingExampleGoesOnAfterGoAway() async throws {
    let calls = Atomic(0)
    let server = try await ScriptedServer.start { request, channel in
      if calls.wrappingAdd(1, ordering: .relaxed).oldValue == 1 {
        // The second call of the first connection is not executed.
        channel.send { ResponseEncoder.appendGoAway(lastID: request.id - 1, to: &$0) }
      } else {
        channel.send(echo(request))
      }
    }
    let client = ReconnectingClient(address: address(of: server))
    #expect(try await client.predict("first", inputs: []).model == "first")
    #expect(try await client.predict("second", inputs: []).model == "second")
    #expect(calls.load(ordering: .relaxed) == 3)
    try await server.stop()
  }

  @Test("the event example returns the last number it has seen")
  func theEventExampleReturnsTheLastNumberSeen() async throws {
    let server = try await ScriptedServer.start { request, channel in
      var report = EventListReport()
      report.events = [
        EventReport(sequence: 8, milliseconds: 0, kind: "serving", severity: "notice", message: "wine@2 answers")
      ]
      channel.send { ResponseEncoder.appendEvents(id: request.id, report, to: &$0) }
    }
    let client = try await NeedletailClient.connect(to: address(of: server))
    #expect(try await DocumentationExamples.newEvents(client, after: 7) == 8)
    await client.close()
    try await server.stop()
  }
}
