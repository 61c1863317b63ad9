internal import NIOHTTP1
internal import NeedletailCore
internal import NeedletailWire

/// What the admin port answers to which request. No sockets: a request's first line in, an answer out.
struct AdminRoutes: Sendable {
  let control: ControlPlane

  /// - Parameter target: path and query as they stand in the request's first line.
  func response(to method: HTTPMethod, _ target: String) -> AdminResponse {
    let request = Target(target)
    guard let answer = answer(at: request.path) else {
      let paths = Self.paths.joined(separator: ", ")
      return .failure(.notFound, "path: expected one of \(paths), found \(Self.quoted(request.path))")
    }
    guard method == .GET || method == .HEAD else {
      var refusal = AdminResponse.failure(
        .methodNotAllowed, "method: expected GET or HEAD, found \(Self.quoted(method.rawValue))")
      refusal.headers.add(name: "Allow", value: "GET, HEAD")
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

  private func answer(at path: String) -> ((Target) throws -> AdminResponse)? {
    switch path {
    case "/": { _ in .page(StatusPage(control.status).html) }
    case "/status.css": { _ in .file(PackageResources.status_css, type: "text/css") }
    case "/status.js": { _ in .file(PackageResources.status_js, type: "text/javascript") }
    case "/status.json": { _ in try .json(ServerStatusJSON(control.status)) }
    case "/events":
      { request in
        let after: UInt64 = try request.number("after", default: 0)
        let limit: UInt32 = try request.number("limit", default: 0)
        return try .json(control.events(after: after, limit: limit).json)
      }
    case "/metrics": { _ in .text(control.metricsText, type: "text/plain; version=0.0.4; charset=utf-8") }
    case "/livez": { _ in .text("live\n") }
    case "/readyz":
      { _ in
        if let obstacle = control.readiness.obstacle {
          .text("not ready: \(obstacle)\n", status: .serviceUnavailable)
        } else {
          .text("ready\n")
        }
      }
    default: nil
    }
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
