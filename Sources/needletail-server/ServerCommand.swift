import ArgumentParser
import NeedletailCore
import NeedletailServer

import FoundationEssentials
import Glibc

/// The command line of the server, which passes its flags to `NeedletailServer`.
@main
struct ServerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "needletail-server",
    abstract: "Serves models from a directory or a bucket, over TCP and Unix sockets.",
    discussion: """
      Settings come from flags, then the environment, then the file of --config, then defaults; \
      --print-config shows all of them, with their sources, as a file that --config reads, and --check says what is \
      wrong with them.

      SIGTERM and SIGINT stop it: calls under way are answered. SIGHUP makes it read its store, certificates and keys \
      again; SIGUSR1 and SIGUSR2 are ignored. It exits with 2 if its configuration must be changed first.

        needletail-server --store models --trust trust.yaml
      """,
    version: needletailVersion)

  @Option(help: ArgumentHelp("YAML file of settings [NEEDLETAIL_CONFIG]", valueName: "file"))
  var config: String?

  @Option(help: help("store", "dir|s3://…"))
  var store: String?

  @Option(help: help("store_cache", "dir"))
  var storeCache: String?

  @Option(help: help("listen", "host:port"))
  var listen: String?

  @Option(help: help("http", "host:port"))
  var http: String?

  @Option(help: help("unix", "path"))
  var unix: String?

  @Option(help: help("admin", "host:port"))
  var admin: String?

  @Flag(name: .customLong("admin-tls"), help: help("admin_tls"))
  var adminTLS = false

  @Option(help: help("trust", "file"))
  var trust: String?

  @Option(help: help("state_directory", "dir"))
  var stateDirectory: String?

  @Option(help: help("tls_certificate", "file"))
  var tlsCertificate: String?

  @Option(help: help("tls_key", "file"))
  var tlsKey: String?

  @Option(name: .customLong("tls-client-ca"), help: help("tls_client_ca", "file"))
  var tlsClientCA: String?

  @Option(name: .customLong("api-keys"), help: help("api_keys", "file"))
  var apiKeys: String?

  @Option(help: help("capture.rules", "file"))
  var captureRules: String?

  @Option(help: help("capture.directory", "dir"))
  var captureDirectory: String?

  @Option(help: help("tracing.endpoint", "address"))
  var tracingEndpoint: String?

  @Option(help: help("tracing.rate", "share"))
  var tracingRate: String?

  @Option(help: help("feedback.rules", "file"))
  var feedbackRules: String?

  @Flag(help: help("allow_unsigned"))
  var allowUnsigned = false

  @Option(help: help("models.readiness", "strict|lenient"))
  var readiness: String?

  @Option(help: help("models.required", "MODEL,…"))
  var requiredModels: String?

  @Option(help: help("memory_max", "bytes"))
  var memoryMax: String?

  @Option(help: help("threads", "n"))
  var threads: String?

  @Flag(help: help("plaintext"))
  var plaintext = false

  @Option(help: help("log.level", "level"))
  var logLevel: String?

  @Option(help: help("log.format", "format"))
  var logFormat: String?

  @Option(help: help("stop.grace_seconds", "seconds"))
  var grace: String?

  @Flag(help: "Print all settings with their sources as YAML, and exit")
  var printConfig = false

  @Flag(help: "Check all settings and the files that they name, say all that is wrong, and exit: 0 if nothing is")
  var check = false

  static func main() async {
    do throws(ConfigurationError) {
      try ServerProcess.checkLimits()
    } catch {
      ServerProcess.report("needletail-server: \(error)")
      // At once: handlers of libraries that run at an ordinary exit may need what is missing.
      _exit(2)
    }
    await main(nil)
  }

  /// Texts given on the command line, by the key of their setting.
  private var flags: [String: String] {
    var flags: [String: String] = [:]
    flags["store"] = store
    flags["store_cache"] = storeCache
    flags["listen"] = listen
    flags["http"] = http
    flags["unix"] = unix
    flags["admin"] = admin
    flags["admin_tls"] = adminTLS ? "true" : nil
    flags["trust"] = trust
    flags["state_directory"] = stateDirectory
    flags["tls_certificate"] = tlsCertificate
    flags["tls_key"] = tlsKey
    flags["tls_client_ca"] = tlsClientCA
    flags["api_keys"] = apiKeys
    flags["capture.rules"] = captureRules
    flags["capture.directory"] = captureDirectory
    flags["tracing.endpoint"] = tracingEndpoint
    flags["tracing.rate"] = tracingRate
    flags["feedback.rules"] = feedbackRules
    flags["allow_unsigned"] = allowUnsigned ? "true" : nil
    flags["models.readiness"] = readiness
    flags["models.required"] = requiredModels
    flags["memory_max"] = memoryMax
    flags["threads"] = threads
    flags["plaintext"] = plaintext ? "true" : nil
    flags["log.level"] = logLevel
    flags["log.format"] = logFormat
    flags["stop.grace_seconds"] = grace
    return flags
  }

  mutating func run() async throws {
    do {
      let resolver = try SettingsResolver(
        flags: flags, environment: ProcessInfo.processInfo.environment, file: config)
      if printConfig {
        print(resolver.yaml, terminator: "")
        return
      }
      if check { return try checkConfiguration(resolver) }
      try await ServerProcess.run(try ServerConfiguration(resolver))
    } catch let error as ConfigurationError {
      ServerProcess.report("needletail-server: \(error)")
      throw ExitCode(error.mayPass ? 1 : 2)
    } catch let error as ExitCode {
      throw error
    } catch {
      ServerProcess.report("needletail-server: \(error)")
      throw ExitCode.failure
    }
  }

  private func checkConfiguration(_ resolver: SettingsResolver) throws {
    let problems = ServerConfiguration.problems(of: resolver)
    for problem in problems { ServerProcess.report("needletail-server: \(problem)") }
    guard problems.isEmpty else { throw ExitCode(2) }
    for warning in try ServerConfiguration(resolver).warnings { ServerProcess.report("warning: \(warning)") }
    print("the configuration is good")
  }

  private static func help(_ key: String, _ valueName: String? = nil) -> ArgumentHelp {
    ArgumentHelp(stringLiteral: ServerSetting.named(key).help).named(valueName)
  }
}

extension ArgumentHelp {
  fileprivate func named(_ valueName: String?) -> ArgumentHelp {
    var help = self
    help.valueName = valueName
    return help
  }
}
