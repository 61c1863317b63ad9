import Logging
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

@Suite("Configuration")
struct ServerConfigurationTests {
  private static let base = ["store": "/models", "allow_unsigned": "true"]

  private func configuration(
    flags: [String: String] = base, environment: [String: String] = [:], yaml: String? = nil
  ) throws -> ServerConfiguration {
    try ServerConfiguration(resolver(flags: flags, environment: environment, yaml: yaml))
  }

  private func resolver(flags: [String: String], environment: [String: String] = [:], yaml: String? = nil) throws
    -> SettingsResolver
  {
    var file: SettingsFile?
    if let yaml { file = try SettingsFile(path: "c.yaml", yaml: yaml) }
    return try SettingsResolver(flags: flags, environment: environment, settingsFile: file)
  }

  private func message(
    flags: [String: String] = base, environment: [String: String] = [:], yaml: String? = nil
  ) -> String {
    do {
      _ = try configuration(flags: flags, environment: environment, yaml: yaml)
      return "accepted"
    } catch {
      return "\(error)"
    }
  }

  @Test func flagsWinOverEnvironmentOverFileOverDefaults() throws {
    let yaml = "threads: 3\nlog: {level: error, format: json}\nlimits:\n  frame_bytes_max: 2_048\n"
    let environment = ["NEEDLETAIL_LOG_LEVEL": "debug", "NEEDLETAIL_THREADS": "5"]
    let found = try configuration(
      flags: Self.base.merging(["threads": "7"]) { $1 }, environment: environment, yaml: yaml)
    #expect(found.threads == 7)
    #expect(found.logLevel == .debug)
    #expect(found.logFormat == .json)
    #expect(found.limits.frameBytesMax == 2048)
    #expect(found.listen == ListenAddress(host: "127.0.0.1", port: 6470))
  }

  @Test func printedConfigurationReadsBackAsTheSame() throws {
    let odd = "/tmp/a \"quoted\" \\ path: #1"
    let flags = ["store": odd, "allow_unsigned": "true", "limits.idle_seconds": "2.5", "admin": "none"]
    let printed = try resolver(flags: flags, environment: ["NEEDLETAIL_THREADS": "4"]).yaml
    #expect(printed.contains("# NEEDLETAIL_THREADS"))
    #expect(printed.contains("# --store"))
    let again = try resolver(flags: [:], yaml: printed)
    let first = try resolver(flags: flags, environment: ["NEEDLETAIL_THREADS": "4"])
    #expect(again.resolved.map(\.text) == first.resolved.map(\.text))
    #expect(try ServerConfiguration(again).store == odd)
    #expect(try ServerConfiguration(again).limits.idle == .milliseconds(2500))
  }

  @Test(arguments: [
    (yaml: "stoer: /x", says: ["c.yaml:1", "\"stoer\"", "\"store\""]),
    (yaml: "threads: 1\nlimits:\n  frame_byte_max: 1", says: ["c.yaml:3", "frame_byte_max", "limits.frame_bytes_max"]),
    (yaml: "\nlog:\n  level: loud", says: ["c.yaml:3", "log.level", "\"loud\""]),
    (yaml: "threads: many", says: ["c.yaml:1", "threads", "integer", "\"many\""]),
    (yaml: "threads: [1]", says: ["c.yaml:1", "threads", "list"]),
    (yaml: "limits: 4", says: ["c.yaml:1", "limits"]),
    (yaml: "- a", says: ["c.yaml:1", "mapping"]),
    (yaml: "a: [", says: ["c.yaml"]),
  ])
  func aFileIsRefusedWithItsLine(yaml: String, says: [String]) {
    let message = message(yaml: yaml)
    for word in says { #expect(message.contains(word), "\(message)") }
  }

  @Test(arguments: [
    (flags: ["store": "/x"], says: ["--trust", "--allow-unsigned"]),
    (flags: ["allow_unsigned": "true"], says: ["--store", "NEEDLETAIL_STORE"]),
    (flags: base.merging(["trust": "t"]) { $1 }, says: ["contradict"]),
    (flags: base.merging(["listen": "0.0.0.0:1"]) { $1 }, says: ["0.0.0.0:1", "--plaintext"]),
    (flags: base.merging(["tls_certificate": "c"]) { $1 }, says: ["--tls-certificate only"]),
    (flags: base.merging(["tls_key": "k"]) { $1 }, says: ["--tls-key only"]),
    (flags: base.merging(["tls_client_ca": "c"]) { $1 }, says: ["--tls-client-ca", "--tls-certificate"]),
    (flags: base.merging(["admin": "10.0.0.1:1"]) { $1 }, says: ["10.0.0.1:1", "--plaintext"]),
    (flags: base.merging(["admin_tls": "true"]) { $1 }, says: ["--admin-tls", "--tls-certificate"]),
    (flags: base.merging(["listen": "none"]) { $1 }, says: ["--listen", "--unix"]),
    (flags: base.merging(["listen": "6470"]) { $1 }, says: ["--listen", "HOST:PORT", "\"6470\""]),
    (flags: base.merging(["stop.grace_seconds": "26"]) { $1 }, says: ["stop.grace_seconds", "25", "26"]),
    (flags: base.merging(["stop.grace_seconds": "-1"]) { $1 }, says: ["--grace", "\"-1\""]),
  ])
  func valuesThatDoNotFitAreRefused(flags: [String: String], says: [String]) {
    let message = message(flags: flags)
    for word in says { #expect(message.contains(word), "\(message)") }
  }

  @Test func beyondLoopbackCallsNeedTLSOrAnExplicitFlag() throws {
    let everywhere = Self.base.merging(["listen": "0.0.0.0:1"]) { $1 }
    let encrypted = everywhere.merging(["tls_certificate": "c", "tls_key": "k"]) { $1 }
    #expect(try configuration(flags: encrypted).tls == TLSFiles(certificate: "c", key: "k"))
    // Without keys every client that reaches the port may call: that is warned about, not forbidden.
    #expect(try configuration(flags: encrypted).warnings.contains { $0.contains("--api-keys") })
    #expect(try configuration(flags: encrypted.merging(["api_keys": "f"]) { $1 }).warnings.isEmpty)
    #expect(try configuration(flags: encrypted.merging(["tls_client_ca": "f"]) { $1 }).warnings.isEmpty)
    let plain = everywhere.merging(["plaintext": "true", "api_keys": "f"]) { $1 }
    #expect(try configuration(flags: plain).warnings.contains { $0.contains("unencrypted") })
    #expect(try configuration(flags: Self.base.merging(["api_keys": "f"]) { $1 }).warnings.isEmpty)
    #expect(message(flags: everywhere.merging(["api_keys": "f"]) { $1 }).contains("--plaintext"))
  }

  @Test func beyondLoopbackTheAdminPortNeedsTLSOrAnExplicitFlag() throws {
    let everywhere = Self.base.merging(["admin": "0.0.0.0:1", "tls_certificate": "c", "tls_key": "k"]) { $1 }
    #expect(message(flags: everywhere).contains("--admin-tls"))
    let encrypted = everywhere.merging(["admin_tls": "true"]) { $1 }
    #expect(try configuration(flags: encrypted).adminTLS)
    #expect(try configuration(flags: encrypted).warnings.contains { $0.contains("metrics and events") })
    #expect(try configuration(flags: encrypted.merging(["tls_client_ca": "f"]) { $1 }).warnings.isEmpty)
  }

  @Test func aMistypedVariableIsWarnedAboutAndAForeignOneIsNot() throws {
    let found = try configuration(environment: ["NEEDLETAIL_THREDS": "1", "NEEDLETAIL_PORT_6470_TCP_ADDR": "10.0.0.1"])
    #expect(found.warnings.count == 1)
    #expect(found.warnings.first?.contains("NEEDLETAIL_THREADS") == true)
  }

  @Test(arguments: [
    ("127.0.0.1:0", ListenAddress(host: "127.0.0.1", port: 0)), ("[::1]:80", ListenAddress(host: "::1", port: 80)),
    ("::1:80", nil), ("a:65536", nil), ("a:", nil), (":1", nil), ("a:+1", nil), ("a", nil),
  ])
  func addressesAreParsed(text: String, address: ListenAddress?) { #expect(ListenAddress(text: text) == address) }

  @Test(arguments: [("Name:\tx\nCpus_allowed:\tff,00000003\n", 10), ("Cpus_allowed:\t0\n", nil), ("", nil)])
  func theAffinityMaskIsCounted(status: String, count: Int?) { #expect(Processors.affinity(inStatus: status) == count) }

  @Test func foreignTextCannotForgeALogLine() {
    let line = LogLine.text(time: "t", level: "info", message: "a\nb", pairs: [("k", "x\ny=\"z\"")])
    #expect(line == "t info a b k=\"x\\ny=\\\"z\\\"\"\n")
    let json = LogLine.json(time: "t", level: "info", message: "a\u{1}", pairs: [("level", "x")])
    #expect(json == #"{"time":"t","level":"info","message":"a\u0001","level_":"x"}"# + "\n")
  }
}
