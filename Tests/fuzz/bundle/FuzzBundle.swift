internal import FuzzDriver
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailTestSupport

/// Feeds bytes to the bundle reader, which must read or refuse them, never trap.
///
/// The first byte chooses the way in. Raw bytes exercise header, signatures, directory and layout. The
/// others replace one section of a good bundle, which is sealed again, so that the input gets past
/// lengths and hashes into the decoders. One of the good bundles has a graph as format 1.0 knew it, one of format 1.1, one
/// the steps on columns of formats 1.4 and 1.5, one the texts of format 1.6, others a tokenizer of each kind. What decodes
/// is compiled and run, too.
@main
enum FuzzBundle {
  static func main() {
    fuzz { start, count in
      FuzzBundle.run(UnsafeRawBufferPointer(start: start, count: count))
      return 0
    }
  }

  private static func run(_ bytes: UnsafeRawBufferPointer) {
    guard let way = bytes.first else { return }
    let input = Array(bytes.dropFirst())
    let sections = Seed.assemblies.reduce(0) { $0 + $1.sections.count }
    let choice = Int(way) % (2 * sections + 1)
    if choice == 0 || input.isEmpty {
      // A forger of a header can compute its checksum.
      read(input.count > 64 && input.count < 1 << 20 ? BundleAssembly.checksummed(input) : input)
    } else if let sealed = seal(input, as: (choice - 1) / 2, isFrame: choice.isMultiple(of: 2)) {
      read(sealed)
    }
  }

  private static func seal(_ input: [UInt8], as place: Int, isFrame: Bool) -> [UInt8]? {
    var (section, index) = (place, 0)
    while section >= Seed.assemblies[index].sections.count {
      section -= Seed.assemblies[index].sections.count
      index += 1
    }
    var assembly = Seed.assemblies[index]
    assembly.sections[section].stored = input
    assembly.sections[section].codec = isFrame ? .zstd : .raw
    // A frame's own content size is beyond guessing; a byte of the input hits the small ones.
    assembly.sections[section].rawBytes = isFrame ? Int(input[input.count / 2]) + 1 : input.count
    return try? assembly.encode(signing: [])
  }

  private static func read(_ bytes: [UInt8]) {
    // The typed error is the answer to most inputs.
    guard
      let bundle = try? VerifiedBundle(
        BundleFile(bytes: bytes), trust: .allowingUnsigned, expecting: nil,
        limits: BundleLimits(fileBytesMax: 1 << 20, rawBytesMax: 16 << 20), nowMilliseconds: 0)
    else { return }
    guard let contents = try? bundle.decode() else { return }
    var options = PlanOptions()
    options.rowsMax = 2
    options.isa = .scalar
    // A decoded graph may still ask for more memory than there should be for a test.
    guard contents.definition.graph.values.allSatisfy({ $0.columns < 1 << 14 }),
      contents.definition.graph.nodes.allSatisfy({ ($0.operation as? Tokenize)?.tokensMax ?? 0 <= 256 }),
      let model = try? CompiledModel(contents.definition, options: options)
    else { return }
    guard let workspace = try? Workspace(model.plan) else { return }
    workspace.fillTexts(rows: 2)
    model.plan.run(workspace, rows: 2)
  }

  /// Good bundles, their sections raw.
  private enum Seed {
    static let assemblies =
      ([
        BundleFixtures.contents(), BundleContents(definition: BundleFixtures.openGraph()),
        BundleContents(definition: BundleFixtures.columnSteps()),
        BundleContents(definition: ModelFixtures.topics()),
      ]
      + TokenizerFixtures.all.compactMap { tokenizer in
        (try? EncoderFixtures.sentences(tokenizer, tokensMax: 64, prefix: 3)).map { BundleContents(definition: $0) }
      })
      .map { contents in
        guard let model = try? ModelID("fuzz"), let version = ModelVersion(1),
          let assembly = try? BundleWriter(
            model: model, version: version, contents: contents, createdMilliseconds: 1
          ).assembly(compressing: false)
        else { preconditionFailure("the fixture does not encode") }
        return assembly
      }
  }
}
