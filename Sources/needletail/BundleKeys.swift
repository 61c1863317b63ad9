internal import ArgumentParser
internal import FoundationEssentials
internal import NeedletailBundle
internal import NeedletailCore

/// `needletail bundle keygen NAME`.
struct BundleKeygen: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keygen",
    abstract: "Make an Ed25519 key pair for signing bundles.",
    discussion: "NAME.key stays with the publisher; the printed lines go into the server's trust file.")

  @Argument(help: "Name of the key, e.g. release.")
  var name: String

  @Option(help: ArgumentHelp("Where to write the files.", valueName: "dir"), completion: .directory)
  var directory = "."

  func validate() throws {
    do {
      _ = try ModelID(name)
    } catch {
      throw ValidationError(error.message.replacing("model name", with: "key name"))
    }
  }

  func run() async throws {
    let key = SigningKey()
    let privatePath = "\(directory)/\(name).key"
    let publicPath = "\(directory)/\(name).pub"
    try key.write(to: privatePath)
    do {
      try key.publicKey.write(to: publicPath)
    } catch {
      // A pair or nothing.
      try? FileManager.default.removeItem(atPath: privatePath)
      throw error
    }
    print(
      """
      Private key: \(privatePath) (keep it off servers)
      Public key:  \(publicPath), key id \(key.publicKey.keyID)

      For the server's trust file:

      keys:
        - name: \(name)
          public_key: \(key.publicKey)
          models: ["*"]
          state: active
      """)
  }
}

/// `needletail bundle sign FILE --key KEYFILE`.
struct BundleSign: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sign",
    abstract: "Add a signature to a bundle.",
    discussion: "Replaces the file atomically. Other signatures stay; signing again with the same key changes nothing.")

  @Argument(help: "A bundle file (.ntb).", completion: .file(extensions: ["ntb"]))
  var file: String

  @Option(help: ArgumentHelp("Private key, as `bundle keygen` wrote it.", valueName: "file"))
  var key: String

  func run() async throws {
    let key = try SigningKey(file: key)
    let found = try BundleFile.open(path: file)
    // Never sign what is broken.
    let bundle = try VerifiedBundle(found, trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
    _ = try bundle.decode()
    let unsigned = found.bytes
    let signed = try key.sign(unsigned)
    let what = "\(bundle.directory.model) version \(bundle.directory.version), key id \(key.publicKey.keyID)"
    guard signed != unsigned else {
      print("Already signed: \(what)")
      return
    }
    try AtomicFile.write(signed, to: file, replace: true)
    print("Signed: \(what)")
  }
}
