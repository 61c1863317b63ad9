/// Certificates made for one test by the openssl command: no key of any kind stands in the repository.
public struct Certificates {
  /// A certificate and its key, as files.
  public struct Pair: Sendable {
    public let certificate: String
    public let key: String
  }

  private let directory: TemporaryDirectory
  /// PEM.
  public let ca: String

  /// A new CA.
  public init() throws {
    directory = try TemporaryDirectory()
    ca = directory.file("ca.pem")
    try openssl([
      "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=test CA",
      "-days", "30", "-keyout", directory.file("ca.key"), "-out", ca,
    ])
  }

  /// A certificate of this CA.
  /// - Parameter names: `DNS:localhost`, `IP:127.0.0.1`, `URI:spiffe://…`
  public func issue(_ name: String, names: [String] = ["DNS:localhost", "IP:127.0.0.1"], days: Int = 30) throws -> Pair
  {
    let pair = Pair(certificate: directory.file(name + ".pem"), key: directory.file(name + ".key"))
    let request = directory.file(name + ".csr")
    try openssl([
      "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=\(name)",
      "-addext", "subjectAltName=\(names.joined(separator: ","))", "-keyout", pair.key, "-out", request,
    ])
    try openssl([
      "x509", "-req", "-in", request, "-CA", ca, "-CAkey", directory.file("ca.key"), "-CAcreateserial",
      "-copy_extensions", "copy", "-days", "\(days)", "-out", pair.certificate,
    ])
    return pair
  }

  /// Revokes certificates of this CA.
  /// - Returns: path of the revocation list, PEM.
  public func revoke(_ pairs: [Pair]) throws -> String {
    let list = directory.file("ca.crl")
    try directory.write([], to: "index.txt")
    let settings = """
      [ca]
      default_ca = own
      [own]
      database = \(directory.file("index.txt"))
      certificate = \(ca)
      private_key = \(directory.file("ca.key"))
      default_md = sha256
      default_crl_days = 30
      """
    let file = try directory.write(Array(settings.utf8), to: "ca.cnf")
    for pair in pairs { try openssl(["ca", "-config", file, "-revoke", pair.certificate]) }
    try openssl(["ca", "-config", file, "-gencrl", "-out", list])
    return list
  }

  private func openssl(_ arguments: [String]) throws {
    let (status, output) = try ChildProcess.run(["openssl"] + arguments)
    guard status == 0 else { throw OpenSSLFailure(message: String(decoding: output, as: UTF8.self)) }
  }
}

struct OpenSSLFailure: Error {
  var message: String
}
