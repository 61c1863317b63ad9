internal import NIOHTTP1
internal import NeedletailCore
internal import NeedletailSecurity
internal import NeedletailWire

/// The answers of the admin port, by request. No sockets: a request's first line in, an answer out.
struct AdminRoutes: Sendable {
  let control: ControlPlane
  /// The pages that client certificates may read; nil: everybody who gets a connection reads everything.
  let keys: KeySource?

  /// - Parameters:
  ///   - target: path and query as they stand in the request's first line.
  ///   - certificateNames: names in the client's certificate; nil: it showed none.
  func response(to method: HTTPMethod, _ target: String, certificateNames: [String]?) -> AdminResponse {
    let request = Target(target)
    let grant = keys.map { Grant.found(by: certificateNames, in: $0.ring) }
    guard let (call, answer) = answer(at: request.path, visible: grant.flatMap { $0?.visibleModels }) else {
      let paths = Self.paths.joined(separator: ", ")
      return .failure(.notFound, "path: expected one of \(paths), found \(Self.quoted(request.path))")
    }
    guard method == .GET || method == .HEAD else {
      var refusal = AdminResponse.failure(
        .methodNotAllowed, "method: expected GET or HEAD, found \(Self.quoted(method.rawValue))")
      refusal.headers.add(name: "Allow", value: "GET, HEAD")
      return refusal
    }
    if let call, let grant, let refusal = refusal(of: call, at: request.path, to: grant, certificateNames) {
      return refusal
    }
    do {
      return try answer(request)
    } catch let error as QueryError {
      return .failure(.badRequest, error.message)
    } catch {
      return .failure(.internalServerError, "\(request.path): \(error)")
    }
  }

  private static let paths = [
    "/", "/status.css", "/status.js", "/status.json", "/events", "/metrics", "/livez", "/readyz",
  ]

  /// The call of the call port that gives the same, which a grant must cover, and the answer; nil: there is no such path.
  /// - Parameter visible: models whose events are shown; nil: all.
  private func answer(
    at path: String, visible: [NamePattern]?
  ) -> (call: AccessCalls?, answer: (Target) throws -> AdminResponse)? {
    switch path {
    case "/": (.list, { _ in .page(StatusPage(control.status).html) })
    case "/status.css": (nil, { _ in .file(PackageResources.status_css, type: "text/css") })
    case "/status.js": (nil, { _ in .file(PackageResources.status_js, type: "text/javascript") })
    case "/status.json": (.list, { _ in try .json(ServerStatusJSON(control.status)) })
    case "/events":
      (
        .list,
        { request in
          let after: UInt64 = try request.number("after", default: 0)
          let limit: UInt32 = try request.number("limit", default: 0)
          return try .json(control.events(after: after, limit: limit).showing(visible).json)
        }
      )
    case "/metrics":
      (.metrics, { _ in .text(control.metricsText, type: "text/plain; version=0.0.4; charset=utf-8") })
    case "/livez": (nil, { _ in .text("live\n") })
    case "/readyz":
      (
        nil,
        { _ in
          if let obstacle = control.readiness.obstacle {
            .text("not ready: \(obstacle)\n", status: .serviceUnavailable)
          } else {
            .text("ready\n")
          }
        }
      )
    default: nil
    }
  }

  /// The answer to a certificate that may not read a path; nil: it may.
  private func refusal(
    of call: AccessCalls, at path: String, to grant: Grant?, _ names: [String]?
  ) -> AdminResponse? {
    let word = call.words.first ?? ""
    guard let grant else {
      let name = names?.first.map(Self.quoted) ?? "none"
      return .failure(
        .forbidden, "\(path): expected a certificate whose name the key file lists with the call \(word), found \(name)"
      )
    }
    guard grant.calls.contains(call) else {
      return .failure(.forbidden, "\(path): expected a certificate that may \(word), found \(Self.quoted(grant.name))")
    }
    // The page and its JSON show every model.
    guard grant.reachesAllModels || path == "/events" || path == "/metrics" else {
      return .failure(
        .forbidden, "\(path): expected a certificate that reaches all models, found \(Self.quoted(grant.name))")
    }
    return nil
  }

  fileprivate static func quoted(_ text: some StringProtocol) -> String { String(text.prefix(64)).quotedForMessage }

  struct QueryError: Error {
    var message: String
  }

  /// Path and query of a request.
  private struct Target {
    /// Without empty parts: `/livez/` and `//livez` are `/livez`.
    let path: String
    private let query: [(name: Substring, value: Substring)]

    init(_ target: String) {
      let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
      path = "/" + (parts.first ?? "").split(separator: "/").joined(separator: "/")
      query = (parts.count > 1 ? parts[1] : "").split(separator: "&").map { entry in
        let pair = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        return (pair[0], pair.count > 1 ? pair[1] : "")
      }
    }

    /// A whole number of the query.
    /// - Throws: ``QueryError`` that names the parameter and what was found.
    func number<Number: FixedWidthInteger>(_ name: String, default standard: Number) throws(QueryError) -> Number {
      guard let text = query.first(where: { $0.name == name })?.value else { return standard }
      guard let number = Number(text), number >= 0 else {
        throw QueryError(message: "\(name): expected a whole number, found \(quoted(text))")
      }
      return number
    }
  }
}

extension Grant {
  /// The grant in force of a certificate; nil: there is none.
  fileprivate static func found(by names: [String]?, in ring: KeyRing) -> Grant? {
    names.flatMap(ring.grant(ofCertificate:)).flatMap { $0.state == .active ? $0 : nil }
  }

  /// Models that the holder may learn of; nil: all.
  fileprivate var visibleModels: [NamePattern]? { reachesAllModels ? nil : models }
}
