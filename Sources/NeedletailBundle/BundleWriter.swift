internal import Glibc
public import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailEngine
package import NeedletailSystem

/// An encoder of bundles. Equal input gives equal bytes except for signatures.
public struct BundleWriter: Sendable {
  private let model: ModelID
  private let version: ModelVersion
  private let contents: BundleContents
  private let createdMilliseconds: UInt64
  private let notAfterMilliseconds: UInt64

  /// - Parameters:
  ///   - createdMilliseconds: time of writing in milliseconds since 1970 (UTC).
  ///   - notAfterMilliseconds: time from which readers refuse the bundle, likewise; 0: never.
  public init(
    model: ModelID, version: ModelVersion, contents: BundleContents, createdMilliseconds: UInt64,
    notAfterMilliseconds: UInt64 = 0
  ) {
    self.model = model
    self.version = version
    self.contents = contents
    self.createdMilliseconds = createdMilliseconds
    self.notAfterMilliseconds = notAfterMilliseconds
  }

  /// Encodes the file.
  ///
  /// - Parameter keys: each adds one signature; none leaves the bundle unsigned.
  /// - Throws: the error with which a reader would refuse the contents.
  public func encode(signing keys: [SigningKey] = []) throws(BundleError) -> [UInt8] {
    try assembly().encode(signing: keys)
  }

  /// - Parameters:
  ///   - compressing: false stores all sections raw, so that the bytes do not depend on the version of
  ///     zstd.
  ///   - validating: false lets a test write contents that a reader must refuse.
  package func assembly(compressing: Bool = true, validating: Bool = true) throws(BundleError) -> BundleAssembly {
    if validating { try contents.validate() }
    let definition = contents.definition
    let weights = WeightsSection.encode(definition.graph.tensors)
    var sections: [BundleAssembly.Section] = []
    func add(_ type: SectionType, isOptional: Bool, _ raw: [UInt8]) throws(BundleError) {
      // An empty message has no content.
      guard !raw.isEmpty else { return }
      sections.append(try Self.section(type, isOptional: isOptional, raw, compressing: compressing))
    }
    try add(.graph, isOptional: false, GraphSection.encode(definition.graph, tensors: weights.places))
    try add(.features, isOptional: false, FeaturesSection.encode(definition.schema))
    try add(.labels, isOptional: false, LabelsSection.encode(definition.labels))
    if let tokenizer = definition.graph.tokenizer {
      try add(.tokenizer, isOptional: false, TokenizerSection.encode(tokenizer.definition))
    }
    try add(.golden, isOptional: false, GoldenSection.encode(contents.golden))
    if let drift = contents.drift { try add(.driftBaseline, isOptional: true, DriftSection.encode(drift)) }
    try add(.trainingMetrics, isOptional: true, MetricsSection.encode(contents.metrics))
    if let lineage = contents.lineage { try add(.lineage, isOptional: true, LineageSection.encode(lineage)) }
    try add(.weights, isOptional: false, weights.bytes)
    var requiredFeatures: UInt64 = 0
    if GraphSection.needsOpenGraph(definition.graph) { requiredFeatures |= BundleFormat.openGraph }
    if definition.schema.rulesChangeAnswers { requiredFeatures |= BundleFormat.valueRules }
    if definition.schema.rules?.numbers.thousands == .point { requiredFeatures |= BundleFormat.thousandsPoint }
    if definition.graph.tokenizer?.definition.dropsUnknown == true { requiredFeatures |= BundleFormat.droppedTokens }
    if GraphSection.hasPrefixes(definition.graph) { requiredFeatures |= BundleFormat.prefixes }
    return BundleAssembly(
      model: model.name, version: version.number, createdMilliseconds: createdMilliseconds,
      notAfterMilliseconds: notAfterMilliseconds, requiredFeatures: requiredFeatures,
      minor: minor(requiredFeatures), sections: sections)
  }

  /// The lowest minor version whose readers know the contents and these bits.
  private func minor(_ requiredFeatures: UInt64) -> UInt16 {
    let schema = contents.definition.schema
    let operations = contents.definition.graph.nodes.map(\.operation)
    let hasColumnSteps = operations.contains {
      $0 is DerivedColumns || $0 is Lookup || $0 is Curves || ($0 as? Affine)?.scaling == .robust
    }
    let hasEncoderSteps = operations.contains {
      $0 is Embedding || $0 is LayerNorm || $0 is SelfAttention || $0 is Activate || $0 is Pool || $0 is Normalise
    }
    let hasText = contents.definition.graph.textInput != nil || contents.definition.graph.tokenizer != nil
    if requiredFeatures & BundleFormat.prefixes != 0 { return 8 }
    if requiredFeatures & BundleFormat.droppedTokens != 0 { return 7 }
    if hasText || hasEncoderSteps { return 6 }
    if hasColumnSteps || schema.features.contains(where: \.isHashed) { return 5 }
    if schema.rules.map({ !$0.numbers.isPlain }) ?? false || schema.features.contains(where: { $0.kind.isDatetime }) {
      return 4
    }
    let hasCovers = contents.definition.graph.nodes.contains {
      ($0.operation as? TreeEnsemble).map { !$0.covers.isEmpty } ?? false
    }
    if hasCovers { return 3 }
    if contents.definition.schema.rules != nil || contents.golden.contains(where: { $0.numerics != 0 }) { return 2 }
    return requiredFeatures == 0 ? 0 : 1
  }

  private static func section(
    _ type: SectionType, isOptional: Bool, _ raw: [UInt8], compressing: Bool
  ) throws(BundleError) -> BundleAssembly.Section {
    let alignment = type == .weights ? BundleFormat.weightsAlignment : BundleFormat.metadataAlignment
    if type != .weights, raw.count > Limits.metadataBytesMax {
      throw BundleError(
        .oversized, "section \(type): raw bytes: expected at most \(Limits.metadataBytesMax), found \(raw.count)")
    }
    if compressing {
      let frame = try raw.withTypedBytes { bytes throws(BundleError) in
        try Zstd.compress(bytes, level: BundleFormat.compressionLevel)
      }
      // A section is stored raw if it does not shrink, or so much that a reader would take it for a decompression bomb.
      if frame.count < raw.count, raw.count <= SectionEntry.rawBytesMax(compressedTo: frame.count) {
        return BundleAssembly.Section(
          number: type.rawValue, isOptional: isOptional, codec: .zstd, alignment: alignment, stored: frame,
          rawBytes: raw.count)
      }
    }
    return BundleAssembly.Section(
      number: type.rawValue, isOptional: isOptional, codec: .raw, alignment: alignment, stored: raw, rawBytes: raw.count
    )
  }
}

/// Encoded sections, to which header and manifest are added: the last step of writing. Tests use it to make bundles with
/// a fault behind a valid signature.
package struct BundleAssembly: Sendable {
  package struct Section: Sendable {
    package var number: UInt32
    package var isOptional: Bool
    package var codec: SectionCodec
    package var alignment: Int
    package var stored: [UInt8]
    package var rawBytes: Int

    package init(
      number: UInt32, isOptional: Bool = false, codec: SectionCodec, alignment: Int, stored: [UInt8], rawBytes: Int
    ) {
      self.number = number
      self.isOptional = isOptional
      self.codec = codec
      self.alignment = alignment
      self.stored = stored
      self.rawBytes = rawBytes
    }
  }

  package var model: String
  package var version: UInt64
  package var createdMilliseconds: UInt64
  package var notAfterMilliseconds: UInt64
  package var engineMin: UInt32
  /// Bits that a reader must know.
  package var requiredFeatures: UInt64
  /// Minor version of the format; nil: the newest where a reader must know a bit, else 0.
  package var minor: UInt16?
  package var sections: [Section]

  package init(
    model: String, version: UInt64, createdMilliseconds: UInt64, notAfterMilliseconds: UInt64 = 0,
    engineMin: UInt32 = engineGeneration, requiredFeatures: UInt64 = 0, minor: UInt16? = nil, sections: [Section]
  ) {
    self.model = model
    self.version = version
    self.createdMilliseconds = createdMilliseconds
    self.notAfterMilliseconds = notAfterMilliseconds
    self.engineMin = engineMin
    self.requiredFeatures = requiredFeatures
    self.minor = minor
    self.sections = sections
  }

  /// Encodes the file with each section at the first aligned offset.
  ///
  /// - Parameter alter: changes the manifest before it is signed; for tests.
  package func encode(
    signing keys: [SigningKey], alter: (inout ManifestFields) -> Void = { _ in }
  ) throws(BundleError) -> [UInt8] {
    let (directory, end) = layOut(alter)
    guard directory.count <= Limits.directoryBytesMax else {
      throw BundleError(
        .oversized, "directory bytes: expected at most \(Limits.directoryBytesMax), found \(directory.count)")
    }
    var header = BundleHeader(
      directoryBytes: directory.count, signatureCapacity: BundleFormat.signatureCapacityDefault, fileBytes: end)
    header.requiredFeatures = requiredFeatures
    header.minor = minor ?? (requiredFeatures == 0 ? 0 : BundleFormat.minor)
    var bytes = Self.checksummed(header.encoded() + directory)
    bytes += try SignatureBlock().encoded(capacity: header.signatureCapacity)
    bytes.reserveCapacity(end)
    for section in sections {
      bytes.append(contentsOf: repeatElement(0, count: bytes.count.roundedUp(to: section.alignment) - bytes.count))
      bytes += section.stored
    }
    for key in keys { bytes = try key.sign(bytes) }
    return bytes
  }

  /// Recomputes the checksum of header and manifest. A signature made before becomes invalid.
  ///
  /// - Parameter bytes: a bundle, or at least its header and manifest.
  package static func checksummed(_ bytes: [UInt8]) -> [UInt8] {
    let directoryBytes = bytes[40..<44].reversed().reduce(0) { $0 << 8 | Int($1) }
    let signed = bytes[..<min(bytes.count, BundleFormat.headerBytes + directoryBytes)]
    let checksum = signed.withUnsafeBytes { BundleHeader.checksum(of: $0) }
    var bytes = bytes
    bytes.replaceSubrange(
      BundleFormat.checksumOffset..<BundleFormat.headerBytes,
      with: withUnsafeBytes(of: checksum.littleEndian) { Array($0) })
    return bytes
  }

  /// Computes the offsets of the sections. Offsets are varints, so that larger ones lengthen the manifest, which moves
  /// the sections: the computation is repeated until nothing changes.
  ///
  /// - Returns: the encoded manifest, and the size of the file in bytes.
  private func layOut(_ alter: (inout ManifestFields) -> Void) -> (directory: [UInt8], fileBytes: Int) {
    var fields = ManifestFields(
      model: model, version: version, createdMilliseconds: createdMilliseconds,
      notAfterMilliseconds: notAfterMilliseconds, engineMin: engineMin,
      sections: sections.map { section in
        ManifestFields.Section(
          type: section.number, codec: UInt32(section.codec.rawValue), isOptional: section.isOptional, offset: 0,
          storedBytes: UInt64(section.stored.count), rawBytes: UInt64(section.rawBytes),
          alignment: UInt32(section.alignment), sha256: SHA256.hash(section.stored))
      })
    while true {
      let before = fields
      var altered = fields
      alter(&altered)
      let directory = altered.encoded()
      var end = BundleFormat.headerBytes + directory.count + BundleFormat.signatureCapacityDefault
      for index in sections.indices {
        end = end.roundedUp(to: sections[index].alignment)
        fields.sections[index].offset = UInt64(end)
        end += sections[index].stored.count
      }
      if fields == before { return (directory, end) }
    }
  }
}

/// The publisher, which puts bundles into a store so that a reader sees either the old state or the new one.
public enum Publisher {
  /// Writes `bytes` to `STORE/<model>/<version>.ntb`: a temporary file in the same directory, fsync,
  /// rename, fsync of the directory and of its parent. The temporary file is removed on every failure; one that a killed
  /// writer left is removed by the next writer after `Limits.abandonedFileSeconds`.
  ///
  /// - Parameter replace: false refuses to touch an existing version.
  /// - Returns: the path of the published file.
  /// - Throws: `.exists`, `.wrongName` if the bundle is another model or version, or `.io` that names
  ///   the failed call.
  public static func publish(
    _ bytes: [UInt8], model: ModelID, version: ModelVersion, store: String, replace: Bool = false
  ) throws(BundleError) -> String {
    try checkIdentity(bytes, model: model, version: version)
    let directory = "\(store)/\(model)"
    do throws(SystemError) {
      try Directory.create(directory)
      // Also where it existed: a publisher may have been killed between the two calls.
      try Directory.synchronise(store)
    } catch {
      throw BundleError(error)
    }
    let path = "\(directory)/\(version).ntb"
    var status = stat()
    guard replace || lstat(path, &status) != 0 else { throw existing(path) }
    try AtomicFile.write(bytes, to: path, replace: replace)
    return path
  }

  /// One above the highest version in the store, 1 for a new model.
  public static func nextVersion(of model: ModelID, store: String) throws(BundleError) -> ModelVersion {
    let path = "\(store)/\(model)"
    var highest: UInt64 = 0
    do throws(SystemError) {
      try Directory.forEachName(in: path) { name in
        if name.hasSuffix(".ntb"), let version = ModelVersion(decimal: name.dropLast(4)) {
          highest = max(highest, version.number)
        }
        return true
      }
    } catch {
      // A new model has no directory yet.
      guard error.code == ENOENT else { throw BundleError(error) }
    }
    let (next, overflow) = highest.addingReportingOverflow(1)
    guard !overflow, let version = ModelVersion(next) else {
      throw BundleError(.oversized, "version: expected one below \(UInt64.max) in \(path), found it: no number is left")
    }
    return version
  }

  /// Checks a bundle before it is published: it must be complete and undamaged, and the version that its place says.
  /// The server decides which signatures it trusts.
  package static func checkIdentity(
    _ bytes: [UInt8], model: ModelID, version: ModelVersion
  ) throws(BundleError) {
    _ = try VerifiedBundle(
      BundleFile(bytes: bytes), trust: .allowingUnsigned, expecting: (model, version),
      limits: BundleLimits(fileBytesMax: .max), nowMilliseconds: 0)
  }

  package static func existing(_ path: String) -> BundleError {
    BundleError(.exists, "\(path): expected no such version, found one; a published version is never changed")
  }
}

extension AtomicFile {
  /// Writes a bundle, or another file of a store or beside one, and removes what killed writers left of such files.
  ///
  /// - Parameter replace: false refuses to touch an existing file.
  /// - Throws: `.exists`, or `.io` naming the call that failed.
  package static func write(_ bytes: [UInt8], to path: String, replace: Bool) throws(BundleError) {
    do throws(SystemError) {
      try write(bytes, to: path, existing: replace ? .replaced : .refused) {
        $0 == "rollout.yaml" || $0.hasSuffix(".ntb")
      }
    } catch {
      throw error.code == EEXIST ? Publisher.existing(path) : BundleError(error)
    }
  }
}
