internal import NeedletailCore

/// Reads what an object store says of a failure.
enum StoreResponse {
  /// - Parameters:
  ///   - request: method and place, for the sentence.
  ///   - host: who answered.
  /// - Returns: nil for a success.
  static func error(_ response: HTTPResponse, of request: String, host: String) -> ObjectStoreError? {
    let head = response.head
    // S3 may find out that it cannot complete an upload when it has begun to answer with 200.
    let isHiddenError = head.status == 200 && response.body.starts(with: "<?xml".utf8)
    guard !(200..<300).contains(head.status) || isHiddenError else { return nil }
    let document = try? XMLElement.parse(response.body)
    let said = document?.name == "Error" ? document : nil
    if isHiddenError, said == nil { return nil }
    let code = said?["Code"] ?? ""
    var words = "status \(head.status)"
    if !code.isEmpty { words += " \(code.quotedForMessage)" }
    if let message = said?["Message"], !message.isEmpty { words += ", \(message.quotedForMessage)" }
    if let region = head["x-amz-bucket-region"] { words += " (the bucket's region is \(region.quotedForMessage))" }
    let seconds = head["retry-after"].flatMap { Int($0) }.map { min(max($0, 0), 3600) }
    return ObjectStoreError(
      reason(status: head.status, code: code), "\(request) at \(host): expected success, found \(words)",
      retryAfterSeconds: seconds)
  }

  private static func reason(status: Int, code: String) -> ObjectStoreError.Reason {
    switch code {
    case "RequestTimeTooSkewed": return .clockSkew
    case "SlowDown", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded": return .throttled
    case "RequestTimeout": return .timeout
    case "InternalError", "ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict": return .server
    case "ExpiredToken", "InvalidToken", "TokenRefreshRequired": return .denied
    case "NotImplemented": return .unsupported
    default: break
    }
    switch status {
    case 401, 403: return .denied
    case 404: return .notFound
    case 405, 501: return .unsupported
    case 412: return .conditionFailed
    case 429, 503: return .throttled
    case 408: return .timeout
    case 409, 500, 502, 504, 200: return .server
    case 300..<400, 400..<500: return .configuration
    default: return .server
    }
  }
}
