import NeedletailClient
import Testing

@Suite("Server address")
struct AddressTests {
  @Test("reads host and port, IPv6 and Unix paths")
  func addressesAreParsed() throws {
    #expect(try ServerAddress("localhost:6470") == .tcp(host: "localhost", port: 6470))
    #expect(try ServerAddress("[::1]:1") == .tcp(host: "::1", port: 1))
    #expect(try ServerAddress("unix:/run/x.sock") == .unix(path: "/run/x.sock"))
    #expect(ServerAddress.tcp(host: "::1", port: 1).description == "[::1]:1")
  }

  @Test("refuses what is no address", arguments: ["", "host", "host:", "host:0", "host:65536", ":1", "::1:5", "unix:"])
  func textThatIsNoAddressIsRefused(_ text: String) {
    let error = #expect(throws: ClientError.self) { try ServerAddress(text) }
    #expect(error?.origin == .invalidInput)
  }
}
