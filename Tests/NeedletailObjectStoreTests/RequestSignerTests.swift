import Testing

@testable import NeedletailObjectStore

/// Source of keys, requests and signatures: "Examples: Signature Calculations" in the Amazon S3 API Reference,
/// "Authenticating Requests: Using the Authorization Header".
@Suite("Signatures of requests")
struct RequestSignerTests {
  private static let signer = RequestSigner(
    credentials: Credentials(
      keyID: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    region: "us-east-1")
  private static let host = (name: "host", value: "examplebucket.s3.amazonaws.com")
  /// 2013-05-24 00:00:00 UTC.
  private static let seconds = 1_369_353_600

  private func signature(_ request: HTTPRequest) -> String {
    var request = request
    Self.signer.sign(&request, at: Self.seconds)
    let authorization = request.headers.first { $0.name == "authorization" }?.value ?? ""
    #expect(
      authorization.hasPrefix("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"))
    #expect(request.headers.contains { $0 == ("x-amz-date", "20130524T000000Z") })
    return String(authorization.split(separator: "Signature=").last ?? "")
  }

  @Test func signsTheReadingOfARange() {
    let request = HTTPRequest(
      method: "GET", target: "/test.txt", headers: [Self.host, (name: "range", value: "bytes=0-9")])
    #expect(signature(request) == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
  }

  @Test func signsTheWritingOfAnObject() {
    let request = HTTPRequest(
      method: "PUT", target: "/" + PercentEncoding.encode("test$file.text", keepingSlashes: true),
      headers: [
        Self.host, (name: "date", value: "Fri, 24 May 2013 00:00:00 GMT"),
        (name: "x-amz-storage-class", value: "REDUCED_REDUNDANCY"),
      ],
      body: Array("Welcome to Amazon S3.".utf8)[...])
    #expect(signature(request) == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")
  }

  @Test func signsAQueryWithoutAValue() {
    let query = RequestSigner.query([(name: "lifecycle", value: "")])
    let request = HTTPRequest(method: "GET", target: "/?" + query, headers: [Self.host])
    #expect(signature(request) == "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")
  }

  @Test func signsAListing() {
    let query = RequestSigner.query([(name: "prefix", value: "J"), (name: "max-keys", value: "2")])
    let request = HTTPRequest(method: "GET", target: "/?" + query, headers: [Self.host])
    #expect(signature(request) == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
  }

  @Test func signsTheTokenOfTemporaryCredentials() {
    var request = HTTPRequest(method: "GET", target: "/", headers: [Self.host])
    RequestSigner(credentials: Credentials(keyID: "a", secret: "b", token: "t"), region: "eu-west-1")
      .sign(&request, at: Self.seconds)
    #expect(request.headers.contains { $0 == ("x-amz-security-token", "t") })
    #expect(
      request.headers.last?.value.contains("host;x-amz-content-sha256;x-amz-date;x-amz-security-token") == true)
  }

  @Test(arguments: [
    ("Fri, 24 May 2013 00:00:00 GMT", 1_369_353_600), ("Thu, 01 Jan 1970 00:00:01 GMT", 1),
    ("Tue, 29 Feb 2028 23:59:59 GMT", 1_835_481_599),
  ])
  func readsDatesOfHTTP(text: String, seconds: Int) {
    #expect(RequestSigner.seconds(ofHTTPDate: text) == seconds)
  }

  @Test(arguments: ["", "Fri, 24 May 2013", "Fri, 24 Mai 2013 00:00:00 GMT", "Fri, 24 May 2013 25:00:00 GMT", "now"])
  func takesNoOtherDates(text: String) {
    #expect(RequestSigner.seconds(ofHTTPDate: text) == nil)
  }
}
