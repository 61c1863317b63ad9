import Testing

@testable import NeedletailObjectStore

@Suite("Places in object stores")
struct ObjectStoreLocationTests {
  private func location(_ text: String, _ environment: [String: String] = [:]) throws -> ObjectStoreLocation {
    try ObjectStoreLocation(text, environment: environment)
  }

  private func fault(_ text: String, _ environment: [String: String] = [:]) -> String {
    do throws(ObjectStoreError) {
      _ = try ObjectStoreLocation(text, environment: environment)
      return ""
    } catch {
      return error.message
    }
  }

  @Test func putsTheBucketIntoTheHostAtAWS() throws {
    let location = try location("s3://models/team/production/")
    #expect(location.endpoint.description == "https://models.s3.us-east-1.amazonaws.com")
    #expect(location.name == "s3://models/team/production")
    #expect(location.target(location.key("wine/1.ntb")) == "/team/production/wine/1.ntb")
    #expect(location.target("") == "/")
  }

  @Test func putsABucketWithDotsIntoThePathForNoCertificateHoldsForItsName() throws {
    let location = try location("s3://my.models")
    #expect(location.endpoint.description == "https://s3.us-east-1.amazonaws.com")
    #expect(location.target("wine/1.ntb") == "/my.models/wine/1.ntb")
  }

  @Test func takesEndpointRegionAndAddressingFromOptionsThenTheEnvironment() throws {
    let environment = [
      "AWS_ENDPOINT_URL": "https://other:9000", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000",
      "AWS_DEFAULT_REGION": "eu-west-1", "AWS_CA_BUNDLE": "/ca.pem", "AWS_PROFILE": "work",
    ]
    let named = try location("s3://models", environment)
    #expect(named.endpoint.description == "http://127.0.0.1:9000")
    #expect(named.target("a b") == "/models/a%20b")
    #expect((named.region, named.authorities, named.profile) == ("eu-west-1", "/ca.pem", "work"))
    let chosen = try location(
      "s3://models?endpoint=https%3A%2F%2Fs3.test&region=eu-north-1&addressing=virtual&profile=x&conditional=off",
      environment)
    #expect(chosen.endpoint.description == "https://models.s3.test")
    #expect((chosen.region, chosen.profile, chosen.writesConditionally) == ("eu-north-1", "x", false))
  }

  @Test func refusesAnUnencryptedEndpointBeyondLoopbackUnlessAllowed() throws {
    #expect(fault("s3://models?endpoint=http://minio:9000").contains("plaintext=on"))
    #expect(try location("s3://models?endpoint=http://minio:9000&plaintext=on").endpoint.host == "minio")
  }

  @Test(arguments: [
    ("s3://", "a bucket's name"), ("s3://Models", "a bucket's name"), ("s3://ab", "a bucket's name"),
    ("s3://models//x", "a prefix"), ("s3://models/../x", "a prefix"), ("s3://models?colour=red", "options endpoint"),
    ("s3://models?regions=x", "region"), ("s3://models?region=A%20B", "a region"),
    ("s3://models?region=x&region=y", "region once"), ("s3://models?region", "options NAME=VALUE"),
    ("s3://models?addressing=host", "addressing=path or virtual"), ("s3://models?conditional=maybe", "on or off"),
    ("s3://models?endpoint=ftp://x", "an address such as"),
    ("s3://models?endpoint=http://x:99999", "an address such as"),
    ("s3://models?endpoint=https://x/path", "an address such as"),
  ])
  func saysWhatIsWrong(text: String, expected: String) {
    #expect(fault(text).contains(expected), "\(fault(text))")
  }
}
