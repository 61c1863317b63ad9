import Foundation
import Logging
import NeedletailModels
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
    // What all names have in common makes no two of them alike: NEEDLETAIL_UNIX is another word.
    #expect(try configuration(environment: ["NEEDLETAIL_BIN": "/usr/bin"]).warnings.isEmpty)
  }

  @Test(arguments: [
    ("127.0.0.1:0", ListenAddress(host: "127.0.0.1", port: 0)), ("[::1]:80", ListenAddress(host: "::1", port: 80)),
    ("::1:80", nil), ("a:65536", nil), ("a:", nil), (":1", nil), ("a:+1", nil), ("a", nil),
  ])
  func addressesAreParsed(text: String, address: ListenAddress?) { #expect(ListenAddress(text: text) == address) }

  @Test func aVariableWithoutItsSectionIsWarnedAbout() throws {
    let found = try configuration(environment: ["NEEDLETAIL_CONNECTIONS_MAX": "1"])
    #expect(found.warnings.first?.contains("NEEDLETAIL_LIMITS_CONNECTIONS_MAX") == true, "\(found.warnings)")
  }

  @Test(arguments: [("0660", 0o660), ("600", 0o600), ("0777", 0o777)])
  func permissionsAreReadAsOctal(text: String, mode: UInt32) throws {
    #expect(try configuration(flags: Self.base.merging(["unix_mode": text]) { $1 }).unixMode == mode)
  }

  @Test(arguments: ["66", "0668", "1777", "rw-rw----", "0x1b0", "-660", "+660"])
  func otherPermissionsAreRefused(text: String) {
    let message = message(flags: Self.base.merging(["unix_mode": text]) { $1 })
    #expect(message.contains("unix_mode") && message.contains("octal"), "\(message)")
  }

  // MARK: the check of everything

  @Test func theCheckNamesEverySettingThatIsWrong() throws {
    let yaml = "store: /models\nthreads: many\nlimits:\n  connections_max: abc\nlog: {format: xml}\n"
    let problems = ServerConfiguration.problems(of: try resolver(flags: [:], yaml: yaml))
    #expect(problems.count == 3, "\(problems)")
    for word in ["c.yaml:2: threads", "c.yaml:4: limits.connections_max", "\"abc\"", "c.yaml:5: log.format", "\"xml\""]
    {
      #expect(problems.contains { $0.contains(word) }, "\(word): \(problems)")
    }
  }

  @Test func theCheckNamesEveryFileThatIsWrong() throws {
    let directory = try TemporaryDirectory()
    let trust = try directory.write(Array("kees: []".utf8), to: "trust.yaml")
    let keys = try directory.write(Array("keys: 4".utf8), to: "keys.yaml")
    let flags = ["store": directory.file("none"), "trust": trust, "api_keys": keys, "unix": trust]
    let problems = ServerConfiguration.problems(of: try resolver(flags: flags))
    #expect(problems.count == 4, "\(problems)")
    for word in ["--store", "--trust", "--api-keys", "--unix"] {
      #expect(problems.contains { $0.hasPrefix(word) }, "\(word): \(problems)")
    }
    let none = ServerConfiguration.problems(of: try resolver(flags: [:]))
    #expect(none.count == 1 && none[0].contains("no model store"), "\(none)")
    let good = ["store": directory.path, "allow_unsigned": "true"]
    #expect(ServerConfiguration.problems(of: try resolver(flags: good)).isEmpty)
  }

  @Test func aBucketNeedsAPlaceForItsCopies() throws {
    let bucket = "s3://models/production?endpoint=http://127.0.0.1:9&region=eu-west-1"
    func flags(_ more: [String: String]) -> [String: String] {
      ["store": bucket, "allow_unsigned": "true"].merging(more) { $1 }
    }
    #expect(message(flags: flags([:])).contains("expected --state-directory or --store-cache beside it"))
    #expect(message(flags: flags(["state_directory": "/s", "store": "s3://Models"])).contains("a bucket's name"))
    #expect(
      message(flags: Self.base.merging(["store_cache": "/c"]) { $1 }).contains("--store-cache: expected --store s3"))
    let below = try #require(try configuration(flags: flags(["state_directory": "/s"])).bucketStore())
    #expect((below.cache, below.cacheBytesMax) == ("/s/store-cache", 16 << 30))
    let named = try configuration(flags: flags(["store_cache": "/c", "store_cache_bytes_max": "2000000"]))
    let settings = try #require(try named.bucketStore())
    #expect((settings.cache, settings.cacheBytesMax) == ("/c", 2_000_000))
    #expect(named.storeName == "s3://models/production")
  }

  /// What is commented out in `deploy/server.yaml` says that it shows the default.
  @Test func theConfigurationInDeployShowsEverySettingWithItsDefault() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let text = try String(contentsOf: root.appendingPathComponent("deploy/server.yaml"), encoding: .utf8)
    // A commented setting follows its # at once; a sentence follows a space.
    let shown = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      line.hasPrefix("#") && !line.hasPrefix("# ") || line.hasPrefix("#  ") ? line.dropFirst() : line[...]
    }.joined(separator: "\n")
    let file = try SettingsFile(path: "deploy/server.yaml", yaml: shown)
    #expect(Set(ServerSetting.all.map(\.key)).subtracting(file.entries.keys).sorted() == [])
    for setting in ServerSetting.all {
      guard let standard = setting.defaultText, let entry = file.entries[setting.key] else { continue }
      #expect(Double(entry.text) ?? -1 == Double(standard) ?? -1, "\(setting.key)")
      if Double(standard) == nil { #expect(entry.text == standard, "\(setting.key)") }
    }
  }

  // MARK: limits of the process

  @Test func aProcessWithTooLittleMemoryOrStackIsToldSo() {
    #expect(throws: Never.self) {
      try ServerProcess.checkLimits(addressSpaceBytes: .max, stackBytes: .max, processors: 2)
    }
    #expect(throws: Never.self) {
      try ServerProcess.checkLimits(addressSpaceBytes: 4 << 30, stackBytes: 8 << 20, processors: 2)
    }
    #expect {
      try ServerProcess.checkLimits(addressSpaceBytes: 200 << 20, stackBytes: 8 << 20, processors: 2)
    } throws: {
      "\($0)".contains("ulimit -v") && "\($0)".contains("found 204800")
    }
    #expect { try ServerProcess.checkLimits(addressSpaceBytes: .max, stackBytes: 64 << 10, processors: 2) } throws: {
      "\($0)".contains("ulimit -s") && "\($0)".contains("found 64")
    }
  }

  @Test func connectionsLeaveDescriptorsForEverythingElse() throws {
    // 46 for a server of two loops; an eighth of the others is the admin port's.
    let small = try #require(DescriptorBudget(limit: 64, callsWanted: 16_384, adminWanted: 256, threads: 2))
    #expect(small.calls == 16 && small.admin == 2)
    let usual = try #require(DescriptorBudget(limit: 1024, callsWanted: 16_384, adminWanted: 256, threads: 2))
    #expect(usual.calls == 856 && usual.admin == 122)
    let large = try #require(DescriptorBudget(limit: 65_536, callsWanted: 16_384, adminWanted: 256, threads: 2))
    #expect(large.calls == 16_384 && large.admin == 256)
    #expect(DescriptorBudget(limit: 30, callsWanted: 16_384, adminWanted: 256, threads: 2) == nil)
    #expect(DescriptorBudget(limit: 48, callsWanted: 1, adminWanted: 1, threads: 2) != nil)
    #expect(DescriptorBudget(limit: .max, callsWanted: 7, adminWanted: 3, threads: 1024)?.calls == 7)
  }

}
