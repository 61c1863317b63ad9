internal import FoundationEssentials
internal import NIOCore
internal import NeedletailBundle
internal import NeedletailModels

extension ServerConfiguration {
  /// Everything that would keep a server with these settings from starting, one sentence each: every setting by itself,
  /// then rules about several, then the files that they name. Binds nothing, so that it may run beside the server.
  public static func problems(of resolver: SettingsResolver) -> [String] {
    let values = SettingValues(resolver.resolved)
    let wrong = resolver.resolved.compactMap { item in
      problem { () throws(ConfigurationError) in try values.check(item.setting) }
    }
    guard wrong.isEmpty else { return wrong }
    do throws(ConfigurationError) {
      return try ServerConfiguration(resolver).problemsOfFiles
    } catch {
      return [error.message]
    }
  }

  private var problemsOfFiles: [String] {
    [
      Self.problem { () throws(ConfigurationError) in try checkStore() },
      Self.problem { () throws(ConfigurationError) in try askStore() },
      Self.problem { () throws(ConfigurationError) in try checkTrust() },
      Self.problem { () throws(ConfigurationError) in try checkStateDirectory() },
      Self.problem { () throws(ConfigurationError) in if let tls { _ = try TLSSource(tls) } },
      Self.problem { () throws(ConfigurationError) in if let apiKeys { _ = try KeySource(path: apiKeys) } },
      Self.problem { () throws(ConfigurationError) in _ = try capture?.read() },
      Self.problem { () throws(ConfigurationError) in _ = try tracing?.collector() },
      Self.problem { () throws(ConfigurationError) in _ = try readFeedbackRules() },
      Self.problem { () throws(ConfigurationError) in try checkJobStore() },
      // A running server's own socket is in use rightly.
      Self.problem { () throws(ConfigurationError) in if let unix { _ = try UnixSocketFile.check(unix) } },
      Self.problem { () throws(ConfigurationError) in try Self.checkHost("--listen", listen) },
      Self.problem { () throws(ConfigurationError) in try Self.checkHost("--http", http) },
      Self.problem { () throws(ConfigurationError) in try Self.checkHost("--admin", admin) },
    ].compactMap { $0 }
  }

  private static func problem(_ body: () throws(ConfigurationError) -> Void) -> String? {
    do throws(ConfigurationError) {
      try body()
      return nil
    } catch {
      return error.mayPass ? nil : error.message
    }
  }

  private func checkTrust() throws(ConfigurationError) {
    guard let trust else { return }
    do throws(BundleError) {
      _ = try TrustPolicy.load(path: trust)
    } catch {
      throw ConfigurationError("--trust \(trust): \(error)")
    }
  }

  /// The directory may be made by the server itself.
  private func checkStateDirectory() throws(ConfigurationError) {
    guard let stateDirectory, FileManager.default.fileExists(atPath: stateDirectory) else { return }
    do throws(StateError) {
      _ = try StateDirectory(creating: stateDirectory)
    } catch {
      throw ConfigurationError("--state-directory: \(error)", mayPass: error.reason == .taken)
    }
  }

  private static func checkHost(_ setting: String, _ address: ListenAddress?) throws(ConfigurationError) {
    guard let address else { return }
    do {
      _ = try SocketAddress.makeAddressResolvingHost(address.host, port: address.port)
    } catch {
      throw ConfigurationError("\(setting) \(address): expected an address of this machine, found none")
    }
  }
}
