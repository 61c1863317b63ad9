internal import Foundation
internal import FoundationNetworking
internal import Glibc
internal import NeedletailCore
internal import Synchronization

/// A tracking server of MLflow, spoken to over its REST API (version 2.0, which MLflow 2 and 3 serve).
///
/// `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, authorise as they do in MLflow's
/// own client. Calls block.
public struct MLflowServer: Sendable {
  /// Address without a slash at its end.
  public let address: String
  private let authorisation: String?

  /// Times after which a call, and an upload, count as failed.
  private static let callSeconds = 30.0
  private static let uploadSeconds = 600.0

  /// - Throws: `TrainingError` of kind `configuration` for what is no address of HTTP.
  public init(_ address: String, setting: String = "--mlflow") throws(TrainingError) {
    var trimmed = address[...]
    while trimmed.hasSuffix("/") { trimmed = trimmed.dropLast() }
    let url = URL(string: String(trimmed))
    guard let scheme = url?.scheme, ["http", "https"].contains(scheme), url?.host?.isEmpty == false else {
      throw TrainingError(
        .configuration,
        "\(setting): expected an address such as http://localhost:5000, found \(address.quotedForMessage)")
    }
    self.address = String(trimmed)
    func variable(_ name: String) -> String? { getenv("MLFLOW_TRACKING_" + name).map { String(cString: $0) } }
    if let token = variable("TOKEN") {
      authorisation = "Bearer " + token
    } else if let user = variable("USERNAME"), let password = variable("PASSWORD") {
      authorisation = "Basic " + Data("\(user):\(password)".utf8).base64EncodedString()
    } else {
      authorisation = nil
    }
  }

  /// Reason why a call failed: the server's code and words, or those of the network.
  struct Fault: Error {
    /// Code such as `RESOURCE_DOES_NOT_EXIST`; empty where the server said none.
    var code = ""
    var message: String
  }

  /// Proves that a tracking server answers there.
  public func check() throws(TrainingError) {
    _ = try required { () throws(Fault) in
      try call("POST", "experiments/search", .section([.init("max_results", .integer(1))]))
    }
  }

  /// Turns faults into errors for people.
  func required<Result>(_ body: () throws(Fault) -> Result) throws(TrainingError) -> Result {
    do throws(Fault) {
      return try body()
    } catch {
      throw .output("MLflow at \(address): \(error.message)")
    }
  }

  /// Calls a method of the API.
  @discardableResult
  func call(_ method: String, _ path: String, _ body: Document) throws(Fault) -> Document {
    let query = method == "GET" ? "?" + Self.query(body) : ""
    let bytes = method == "GET" ? nil : Array(body.json.utf8)
    let answer = try send(
      method, "/api/2.0/mlflow/\(path)\(query)", body: bytes.map { .bytes($0) }, type: "application/json",
      seconds: Self.callSeconds)
    do {
      return try Document(json: answer.isEmpty ? Array("{}".utf8) : answer, name: path)
    } catch {
      throw Fault(message: "expected JSON of \(path), found: \(error.message)")
    }
  }

  /// Writes a file below a run's artifacts through the server.
  ///
  /// - Parameter directory: path of the run's artifacts below the root, such as `1/abc/artifacts`.
  func upload(_ file: String, as name: String, to directory: String) throws(Fault) {
    let path = (directory + "/" + name).split(separator: "/").map { Self.escaped(String($0)) }.joined(separator: "/")
    _ = try send(
      "PUT", "/api/2.0/mlflow-artifacts/artifacts/\(path)", body: .file(file), type: "application/octet-stream",
      seconds: Self.uploadSeconds)
  }

  private static func query(_ values: Document) -> String {
    values.entries.map { "\($0.key)=\(escaped($0.value.text ?? ""))" }.joined(separator: "&")
  }

  private static func escaped(_ text: String) -> String {
    var allowed = CharacterSet.alphanumerics
    allowed.insert(charactersIn: "-._~")
    // Letters beyond ASCII count as alphanumeric there.
    return text.unicodeScalars.map { scalar in
      scalar.isASCII && allowed.contains(scalar)
        ? String(scalar)
        : String(scalar).utf8.map { "%" + (($0 < 16 ? "0" : "") + String($0, radix: 16, uppercase: true)) }.joined()
    }.joined()
  }

  private enum Body {
    case bytes([UInt8])
    case file(String)
  }

  private func send(
    _ method: String, _ path: String, body: Body?, type: String, seconds: Double
  ) throws(Fault) -> [UInt8] {
    guard let url = URL(string: address + path) else { throw Fault(message: "\(path) makes no address") }
    var request = URLRequest(url: url, timeoutInterval: seconds)
    request.httpMethod = method
    request.setValue(type, forHTTPHeaderField: "Content-Type")
    if let authorisation { request.setValue(authorisation, forHTTPHeaderField: "Authorization") }
    let outcome = Outcome()
    let finish = { @Sendable (data: Data?, response: URLResponse?, error: (any Error)?) in
      outcome.set(data, response, error)
    }
    let session = URLSession(configuration: .ephemeral)
    defer { session.finishTasksAndInvalidate() }
    switch body {
    case .file(let file):
      session.uploadTask(with: request, fromFile: URL(fileURLWithPath: file), completionHandler: finish).resume()
    case .bytes(let bytes):
      request.httpBody = Data(bytes)
      session.dataTask(with: request, completionHandler: finish).resume()
    case nil: session.dataTask(with: request, completionHandler: finish).resume()
    }
    return try outcome.wait(method, path)
  }

  /// What a request came to. The session's queue sets it once; the caller waits for that.
  private final class Outcome: Sendable {
    private let done = DispatchSemaphore(value: 0)
    private let result = Mutex<(status: Int, body: [UInt8], error: String?)>((0, [], nil))

    func set(_ data: Data?, _ response: URLResponse?, _ error: (any Error)?) {
      result.withLock {
        $0 = (
          (response as? HTTPURLResponse)?.statusCode ?? 0, data.map { Array($0) } ?? [], error?.localizedDescription
        )
      }
      done.signal()
    }

    func wait(_ method: String, _ path: String) throws(Fault) -> [UInt8] {
      done.wait()
      let (status, body, error) = result.withLock { $0 }
      if let error { throw Fault(message: "expected an answer, found: \(error)") }
      if (200..<300).contains(status) { return body }
      let said = try? Document(json: body, name: path)
      let words = said?["message"].text ?? String(decoding: body.prefix(200), as: UTF8.self)
      throw Fault(
        code: said?["error_code"].text ?? "",
        message: "\(method) \(path.split(separator: "?").first ?? ""): status \(status), \(words.quotedForMessage)")
    }
  }
}
