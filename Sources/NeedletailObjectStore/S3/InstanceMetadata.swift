internal import NeedletailCore
internal import NeedletailYAML

/// The metadata service of a cloud machine (IMDSv2), as a source of temporary credentials of the machine's role.
struct InstanceMetadata: Sendable {
  private let client: HTTPClient

  private static let bodyBytesMax = 64 << 10
  private static let deadlineSeconds: UInt64 = 4
  private static let credentialsPath = "/latest/meta-data/iam/security-credentials/"

  /// - Throws: `.configuration` if `AWS_EC2_METADATA_SERVICE_ENDPOINT` is no address.
  init(environment: [String: String]) throws(ObjectStoreError) {
    let named = environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] ?? ""
    client = try HTTPClient(HTTPEndpoint(named.isEmpty ? "http://169.254.169.254" : named))
  }

  /// Asks for a session, for the role's name, and for its credentials.
  ///
  /// - Throws: `.denied` if the machine has no role, else the fault of the service.
  func credentials() throws(ObjectStoreError) -> Credentials {
    let session = try ask(
      HTTPRequest(
        method: "PUT", target: "/latest/api/token",
        headers: [("x-aws-ec2-metadata-token-ttl-seconds", "300")]))
    let fields = [(name: "x-aws-ec2-metadata-token", value: session)]
    let roles = try ask(HTTPRequest(method: "GET", target: Self.credentialsPath, headers: fields))
    guard let role = roles.split(whereSeparator: \.isNewline).first else {
      throw ObjectStoreError(.denied, "\(client.endpoint): expected the role of this machine, found none")
    }
    let document = try ask(
      HTTPRequest(
        method: "GET", target: Self.credentialsPath + PercentEncoding.encode(String(role)), headers: fields))
    var values: [String: String] = [:]
    do throws(YAMLError) {
      // JSON is YAML.
      for entry in try YAMLNode.parse(document, file: "credentials").entries() {
        values[entry.word] = try? entry.value.text()
      }
    } catch {
      // Not its words: they may hold a part of the secret.
      throw ObjectStoreError(.malformed, "\(client.endpoint): expected credentials as JSON, found something else")
    }
    guard let keyID = values["AccessKeyId"], let secret = values["SecretAccessKey"] else {
      throw ObjectStoreError(
        .denied, "\(client.endpoint): expected credentials of \(role.quotedForMessage), found none")
    }
    return Credentials(
      keyID: keyID, secret: secret, token: values["Token"],
      expiresSeconds: values["Expiration"].flatMap { DateText.parse($0, order: .yearFirst) }.map { Int($0) })
  }

  private func ask(_ request: HTTPRequest) throws(ObjectStoreError) -> String {
    var request = request
    request.headers.insert(("host", client.endpoint.hostHeader), at: 0)
    let response = try client.send(
      request, deadline: Instant.now().advanced(byMicroseconds: Self.deadlineSeconds * 1_000_000),
      bodyBytesMax: Self.bodyBytesMax)
    guard response.head.status == 200, let text = String(validating: response.body, as: UTF8.self) else {
      throw ObjectStoreError(
        response.head.status >= 500 ? .server : .denied,
        "\(client.endpoint): expected the machine's credentials, found status \(response.head.status)")
    }
    return text
  }
}
