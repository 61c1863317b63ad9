internal import ArgumentParser
internal import FoundationEssentials
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailSystem

/// `needletail bundle keygen NAME`.
struct BundleKeygen: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keygen",
    abstract: "Make an Ed25519 key pair for signing bundles.",
    discussion: """
      NAME.key stays with the publisher; the printed lines go into the server's trust file. Where there is none yet, \
      --trust starts it.
      """)

  @Argument(help: "Name of the key, e.g. release.")
  var name: String

  @Option(help: ArgumentHelp("Where to write the files.", valueName: "dir"), completion: .directory)
  var directory = "."

  @Option(help: ArgumentHelp("Start a trust file with this key; it must not exist yet.", valueName: "file"))
  var trust: String?

  func validate() throws {
    do {
      _ = try ModelID(name)
    } catch {
      throw ValidationError(error.message.replacing("model name", with: "key name"))
    }
    if let trust, FileManager.default.fileExists(atPath: trust) {
      throw ValidationError("--trust \(trust): exists already; leave --trust out and add the printed lines to it")
    }
  }

  func run() async throws {
    let key = SigningKey()
    let privatePath = "\(directory)/\(name).key"
    let publicPath = "\(directory)/\(name).pub"
    try key.write(to: privatePath)
    let trustFile = """
      keys:
        - name: \(name)
          public_key: \(key.publicKey)
          models: ["*"]
          state: active

      """
    // Either all files are written or none; existing files are never touched.
    var written = [privatePath]
    do {
      try key.publicKey.write(to: publicPath)
      written.append(publicPath)
      if let trust { try AtomicFile.write(Array(trustFile.utf8), to: trust, replace: false) }
    } catch {
      for path in written { try? FileManager.default.removeItem(atPath: path) }
      throw error
    }
    print(
      """
      Private key: \(privatePath) (keep it off servers)
      Public key:  \(publicPath), key id \(key.publicKey.keyID)
      """)
    if let trust {
      print("Trust file:  \(trust), for needletail-server --trust")
    } else {
      print("\nFor the server's trust file:\n\n\(trustFile)", terminator: "")
    }
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
    // A broken bundle is never signed.
    let bundle = try BundleOutput.naming(file) { () throws(BundleError) in
      let bundle = try VerifiedBundle(found, trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
      _ = try bundle.decode()
      return bundle
    }
    let unsigned = found.bytes
    let signed = try key.sign(unsigned)
    let what = "\(bundle.manifest.model) version \(bundle.manifest.version), key id \(key.publicKey.keyID)"
    guard signed != unsigned else {
      print("Already signed: \(what)")
      return
    }
    try AtomicFile.write(signed, to: file, replace: true)
    print("Signed: \(what)")
  }
}
