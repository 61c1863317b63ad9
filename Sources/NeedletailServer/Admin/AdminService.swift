internal import Hummingbird
internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NeedletailCore
internal import NeedletailWire
internal import ServiceLifecycle
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// HTTP for Prometheus, for load balancers and for people, on an address of its own.
struct AdminService: Service {
  let address: ListenAddress
  /// Nil: not encrypted.
  let tls: TLSSource?
  let control: ControlPlane
  let group: any EventLoopGroup
  let logger: Logger
  /// Told the address once it is bound, port 0 resolved.
  let onBound: @Sendable (ListenAddress) -> Void

  func run() async throws {
    let application = Application(
      router: router, server: server,
      configuration: ApplicationConfiguration(address: .hostname(address.host, port: address.port)),
      onServerRunning: { [address, onBound] channel in
        onBound(ListenAddress(host: address.host, port: channel.localAddress?.port ?? address.port))
      },
      eventLoopGroupProvider: .shared(group), logger: Self.quiet(logger))
    do {
      try await application.run()
    } catch let error as IOError {
      let reason = error.errnoCode == EADDRINUSE ? "expected a free address, found it in use" : "cannot listen"
      throw ConfigurationError("--admin \(address): \(reason)")
    } catch let error as SocketAddressError {
      throw ConfigurationError("--admin \(address): cannot listen: \(error)")
    }
  }

  private var server: HTTPServerBuilder {
    let idle = TimeAmount.seconds(Limits.adminIdleSeconds)
    return HTTPServerBuilder { [tls] responder in
      let plain = HTTP1Channel(responder: responder, configuration: .init(idleTimeout: idle))
      guard let tls else { return plain }
      return EncryptedChannel(base: plain, tls: tls)
    }
  }

  /// The library tells each start and stop of its parts; ours are told once, by ourselves.
  private static func quiet(_ logger: Logger) -> Logger {
    var quiet = logger
    quiet.logLevel = max(logger.logLevel, .warning)
    return quiet
  }

  private var router: Router<BasicRequestContext> {
    let router = Router()
    let control = control
    router.get("/") { _, _ in AdminAnswer.page(StatusPage(control.status).html) }
    router.get("/status.css") { _, _ in AdminAnswer.file(PackageResources.status_css, type: "text/css") }
    router.get("/status.js") { _, _ in AdminAnswer.file(PackageResources.status_js, type: "text/javascript") }
    router.get("/status.json") { _, _ in try AdminAnswer.json(ServerStatusJSON(control.status)) }
    router.get("/events") { request, _ in
      let after: UInt64 = try request.number("after", default: 0)
      let limit: UInt32 = try request.number("limit", default: 0)
      return try AdminAnswer.json(control.events(after: after, limit: limit).json)
    }
    router.get("/metrics") { _, _ in
      AdminAnswer.text(control.metricsText, type: "text/plain; version=0.0.4; charset=utf-8")
    }
    router.get("/livez") { _, _ in AdminAnswer.text("live\n") }
    router.get("/readyz") { _, _ in
      if let obstacle = control.readiness.obstacle {
        AdminAnswer.text("not ready: \(obstacle)\n", status: .serviceUnavailable)
      } else {
        AdminAnswer.text("ready\n")
      }
    }
    return router
  }
}
