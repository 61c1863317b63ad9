import NeedletailTestSupport
import Testing

@testable import NeedletailObjectStore

@Suite("Credentials for object stores", .timeLimit(.minutes(10)))
struct CredentialsTests {
  private func source(_ environment: [String: String], profile: String = "default", metadata: Bool = false) throws
    -> CredentialsSource
  {
    try CredentialsSource(environment: environment, profile: profile, asksInstanceMetadata: metadata)
  }

  private func fault(_ source: CredentialsSource) -> String {
    do throws(ObjectStoreError) {
      _ = try source.credentials()
      return ""
    } catch {
      #expect(error.reason == .denied)
      return error.message
    }
  }

  @Test func prefersTheEnvironmentToTheFile() throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write(Array("[default]\naws_access_key_id=f\naws_secret_access_key=g\n".utf8), to: "c")
    var environment = ["AWS_SHARED_CREDENTIALS_FILE": path]
    #expect(try source(environment).credentials() == Credentials(keyID: "f", secret: "g"))
    environment["AWS_ACCESS_KEY_ID"] = "k"
    environment["AWS_SECRET_ACCESS_KEY"] = "s"
    environment["AWS_SESSION_TOKEN"] = "t"
    #expect(try source(environment).credentials() == Credentials(keyID: "k", secret: "s", token: "t"))
  }

  @Test func readsTheSectionOfAProfileAndSeesARotatedSecretAtOnce() throws {
    let directory = try TemporaryDirectory()
    func write(_ secret: String) throws -> String {
      try directory.write(
        Array(
          """
          # comment
          [default]
          aws_access_key_id = other
          aws_secret_access_key = other
          [ work ]
          AWS_Access_Key_ID = id
          aws_secret_access_key = \(secret)
          aws_session_token=tok=en

          """.utf8), to: "credentials")
    }
    let source = try source(["AWS_SHARED_CREDENTIALS_FILE": write("one")], profile: "work")
    #expect(try source.credentials() == Credentials(keyID: "id", secret: "one", token: "tok=en"))
    _ = try write("two")
    #expect(try source.credentials().secret == "two")
  }

  @Test func saysWhereItLooked() throws {
    #expect(try fault(source(["HOME": "/nowhere"])).contains("section [default] of /nowhere/.aws/credentials"))
    let directory = try TemporaryDirectory()
    let path = try directory.write([0xFF, 0xFE], to: "c")
    #expect(try fault(source(["AWS_SHARED_CREDENTIALS_FILE": path])).contains("expected UTF-8 text"))
    #expect(
      try fault(source(["AWS_SHARED_CREDENTIALS_FILE": directory.path])).contains("a credentials file that can be read")
    )
    #expect(
      try fault(source(["AWS_ACCESS_KEY_ID": "a\r\nx: y", "AWS_SECRET_ACCESS_KEY": "s"])).contains("printable ASCII"))
  }

  @Test func asksTheMachinesMetadataServiceOnceForManyRequests() async throws {
    let server = try ScriptedServer([
      .ok("session"), .ok("role\n"),
      .ok(
        """
        {"Code": "Success", "AccessKeyId": "k", "SecretAccessKey": "s", "Token": "t", "Expiration": "2999-01-01T00:00:00Z"}
        """),
    ])
    let source = try source(
      ["HOME": "/nowhere", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:\(server.port)"], metadata: true)
    let found = try await ScriptedServer.run { [try source.credentials(), try source.credentials()] }
    #expect(found.map(\.keyID) == ["k", "k"])
    #expect(found[0].token == "t")
    #expect(found[0].expiresSeconds == 32_472_144_000)
    #expect(
      server.asked.map(\.line) == [
        "PUT /latest/api/token HTTP/1.1", "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1",
        "GET /latest/meta-data/iam/security-credentials/role HTTP/1.1",
      ])
    #expect(server.asked[2].head.contains("x-aws-ec2-metadata-token: session"))
  }

  @Test func reportsAMachineWithoutARole() async throws {
    let server = try ScriptedServer([.ok("session"), .status(404)])
    let source = try source(
      ["HOME": "/nowhere", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:\(server.port)"], metadata: true)
    #expect(try await ScriptedServer.run { fault(source) }.contains("found status 404"))
  }
}
