package import NeedletailCore
internal import NeedletailTLS
internal import Synchronization

/// Sends requests to one endpoint over connections that it keeps. Any number of threads may use it; calls block.
package final class HTTPClient: Sendable {
  package let endpoint: HTTPEndpoint
  private let tls: TLSContext?
  private let idle = Mutex<[HTTPConnection]>([])

  private static let idleMax = 4

  /// - Parameter authorities: PEM file of those who issue certificates; nil: those that the system trusts.
  /// - Throws: `.configuration` for a file that cannot be read.
  package init(_ endpoint: HTTPEndpoint, authorities: String? = nil) throws(ObjectStoreError) {
    self.endpoint = endpoint
    guard endpoint.isEncrypted else {
      tls = nil
      return
    }
    var roots: [TLSCertificate]?
    if let authorities {
      roots = TLSCertificate.read(path: authorities)
      guard roots != nil else {
        throw ObjectStoreError(
          .configuration, "\(authorities): expected certificates (PEM), found none that can be read")
      }
    }
    do throws(TLSError) {
      tls = try TLSContext(clientTrusting: roots, identity: nil)
    } catch {
      throw ObjectStoreError(.configuration, "TLS: \(error)")
    }
  }

  /// Sends a request and receives its answer, whatever its status.
  ///
  /// A kept connection that the server has closed meanwhile is replaced once.
  ///
  /// - Parameters:
  ///   - deadline: the latest end of all of it.
  ///   - bodyBytesMax: largest body that is kept in memory.
  ///   - sink: gets the body of a successful answer instead.
  package func send(
    _ request: HTTPRequest, deadline: Instant, bodyBytesMax: Int = 1 << 20, sink: HTTPConnection.Sink? = nil
  ) throws(ObjectStoreError) -> HTTPResponse {
    if let kept = idle.withLock({ $0.popLast() }) {
      do throws(ObjectStoreError) {
        return try perform(request, on: kept, deadline: deadline, bodyBytesMax: bodyBytesMax, sink: sink)
      } catch {
        guard error.reason == .unreachable, !kept.hasAnswered, request.isIdempotent else { throw error }
      }
    }
    let connection = try HTTPConnection(to: endpoint, tls: tls, deadline: deadline)
    return try perform(request, on: connection, deadline: deadline, bodyBytesMax: bodyBytesMax, sink: sink)
  }

  private func perform(
    _ request: HTTPRequest, on connection: HTTPConnection, deadline: Instant, bodyBytesMax: Int,
    sink: HTTPConnection.Sink?
  ) throws(ObjectStoreError) -> HTTPResponse {
    let response = try connection.perform(
      request, deadline: deadline, bodyBytesMax: bodyBytesMax, sink: sink)
    if connection.isReusable {
      idle.withLock { if $0.count < Self.idleMax { $0.append(connection) } }
    }
    return response
  }
}
