internal import Glibc
internal import NeedletailCrypto

/// Signs requests with AWS Signature Version 4, in the form of S3: the path is encoded once, and the hash of the body is
/// a field.
///
/// Source: "Signature Calculations for the Authorization Header" in the Amazon S3 API Reference.
struct RequestSigner {
  let credentials: Credentials
  let region: String

  /// Adds the fields `x-amz-date`, `x-amz-content-sha256`, `x-amz-security-token` and `authorization`.
  ///
  /// - Parameters:
  ///   - request: with all fields that are to be signed, `host` among them, and its query sorted by name.
  ///   - seconds: Unix time, as the store's clock has it.
  func sign(_ request: inout HTTPRequest, at seconds: Int) {
    let stamp = Self.stamp(seconds)
    let bodyHash = Hex.text(request.body.withUnsafeBytes { SHA256.hash($0) })
    request.headers.append(("x-amz-content-sha256", bodyHash))
    request.headers.append(("x-amz-date", stamp))
    if let token = credentials.token { request.headers.append(("x-amz-security-token", token)) }

    let signed = request.headers.sorted { $0.name < $1.name }
    let names = signed.map(\.name).joined(separator: ";")
    let parts = request.target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    let canonical = [
      request.method, String(parts[0]), parts.count > 1 ? String(parts[1]) : "",
      signed.map { "\($0.name):\($0.value[...].trimmingBlanks)\n" }.joined(), names, bodyHash,
    ].joined(separator: "\n")
    let day = String(stamp.prefix(8))
    let scope = "\(day)/\(region)/s3/aws4_request"
    let text = ["AWS4-HMAC-SHA256", stamp, scope, Hex.text(SHA256.hash(Array(canonical.utf8)))]
      .joined(separator: "\n")
    var key = Array("AWS4\(credentials.secret)".utf8)
    for part in [day, region, "s3", "aws4_request"] { key = HMACSHA256.code(of: Array(part.utf8), key: key) }
    let signature = Hex.text(HMACSHA256.code(of: Array(text.utf8), key: key))
    request.headers.append(
      (
        "authorization",
        "AWS4-HMAC-SHA256 Credential=\(credentials.keyID)/\(scope), SignedHeaders=\(names), Signature=\(signature)"
      ))
  }

  /// A query as a signature needs it: encoded, sorted by name.
  static func query(_ items: [(name: String, value: String)]) -> String {
    items.map { (PercentEncoding.encode($0.name), PercentEncoding.encode($0.value)) }
      .sorted { $0 < $1 }.map { "\($0.0)=\($0.1)" }.joined(separator: "&")
  }

  /// A time as `20130524T000000Z`.
  private static func stamp(_ seconds: Int) -> String {
    var time = seconds
    var fields = tm()
    gmtime_r(&time, &fields)
    func digits(_ number: Int32, _ count: Int) -> String {
      let text = String(number)
      return String(repeating: "0", count: max(0, count - text.count)) + text
    }
    return digits(fields.tm_year + 1900, 4) + digits(fields.tm_mon + 1, 2) + digits(fields.tm_mday, 2) + "T"
      + digits(fields.tm_hour, 2) + digits(fields.tm_min, 2) + digits(fields.tm_sec, 2) + "Z"
  }

  /// Unix seconds of a date of HTTP such as `Fri, 24 May 2013 00:00:00 GMT`; nil for other texts.
  static func seconds(ofHTTPDate text: String) -> Int? {
    let words = text.split(separator: " ")
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    guard words.count == 6, words[5] == "GMT", let day = Int32(words[1]), (1...31).contains(day),
      let month = months.firstIndex(of: String(words[2])), let year = Int32(words[3]), (1970...9999).contains(year)
    else { return nil }
    let clock = words[4].split(separator: ":").map { Int32($0) }
    guard clock.count == 3, let hour = clock[0], let minute = clock[1], let second = clock[2],
      (0...23).contains(hour), (0...59).contains(minute), (0...60).contains(second)
    else { return nil }
    var fields = tm()
    fields.tm_year = year - 1900
    fields.tm_mon = Int32(month)
    fields.tm_mday = day
    fields.tm_hour = hour
    fields.tm_min = minute
    fields.tm_sec = second
    return timegm(&fields)
  }
}
