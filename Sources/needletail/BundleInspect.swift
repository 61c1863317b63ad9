internal import ArgumentParser
internal import NeedletailBundle
internal import NeedletailCore

/// `needletail bundle inspect FILE`.
struct BundleInspect: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show what a bundle holds.",
    discussion: "Checks all hashes on the way, but trusts any signature: ask `bundle verify` about those.")

  @Argument(help: "A bundle file (.ntb).", completion: .file(extensions: ["ntb"]))
  var file: String

  @Flag(help: "Print JSON.")
  var json = false

  func run() async throws {
    let bundle = try VerifiedBundle(
      BundleFile.open(path: file), trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
    let description = BundleDescription(bundle, try bundle.decode())
    print(try json ? BundleOutput.json(description) : description.text)
  }
}
