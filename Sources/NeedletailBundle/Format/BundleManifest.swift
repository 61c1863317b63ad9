internal import CNeedletailProto
public import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailEngine
internal import NeedletailSystem

/// The content of a section. Raw values are those of `needletail.v1.SectionType`.
public enum SectionType: UInt32, Sendable, CaseIterable, CustomStringConvertible {
  case graph = 1
  case weights = 2
  case features = 3
  case labels = 4
  case tokenizer = 5
  case calibration = 6
  case golden = 7
  case driftBaseline = 8
  case trainingMetrics = 9
  case lineage = 10

  public var description: String {
    switch self {
    case .graph: "graph"
    case .weights: "weights"
    case .features: "features"
    case .labels: "labels"
    case .tokenizer: "tokenizer"
    case .calibration: "calibration"
    case .golden: "golden samples"
    case .driftBaseline: "drift baseline"
    case .trainingMetrics: "training metrics"
    case .lineage: "lineage"
    }
  }
}

/// The form in which the bytes of a section are stored. Raw values are those of `needletail.v1.Codec`.
public enum SectionCodec: UInt8, Sendable, CaseIterable, CustomStringConvertible {
  case raw = 0
  /// One zstd frame that declares its content size, without a dictionary.
  case zstd = 1

  public var description: String {
    switch self {
    case .raw: "raw"
    case .zstd: "zstd"
    }
  }
}

/// Place and content of one section in the file.
public struct SectionEntry: Sendable, Equatable {
  /// Number of the section's type as stored, from 1.
  public var number: UInt32
  /// A reader that does not know the type may skip the section.
  public var isOptional: Bool
  /// Form of the stored bytes.
  public var codec: SectionCodec
  /// First byte, counted from the start of the file; a multiple of `alignment`.
  public var offset: Int
  /// Number of bytes in the file.
  public var storedBytes: Int
  /// Number of bytes after decompression.
  public var rawBytes: Int
  /// Alignment of the section in the file, a power of two up to 4096.
  public var alignment: Int
  /// SHA-256 of the stored bytes, 32 bytes.
  public var sha256: [UInt8]

  /// Content of the section; nil for a number that this reader does not know.
  public var type: SectionType? { SectionType(rawValue: number) }

  /// The name for people: `weights`, or `section 17` for an unknown one.
  public var name: String { type?.description ?? "section \(number)" }
}

/// The signed part of a bundle: its model and version, and the places and hashes of its sections. In the file it is the
/// message `Directory` of `bundle.proto`.
public struct BundleManifest: Sendable, Equatable {
  /// Name of the model.
  public var model: ModelID
  /// Version of the model.
  public var version: ModelVersion
  /// Time at which the bundle was written, in milliseconds since 1970 (UTC).
  public var createdMilliseconds: UInt64
  /// Time from which the bundle is refused, in milliseconds since 1970 (UTC); 0 stands for never.
  public var notAfterMilliseconds: UInt64
  /// The lowest engine generation that can run the graph.
  public var engineMin: UInt32
  /// Sections in the order of their places.
  public var sections: [SectionEntry]
  /// SHA-256 of the manifest's bytes in lower-case hexadecimal: the identity of the bundle.
  public var digest: String
}

extension BundleManifest {
  /// Checks the fields of a manifest, apart from the file around it.
  init(_ fields: ManifestFields, digest: String) throws(BundleError) {
    do {
      model = try ModelID(fields.model)
    } catch {
      throw BundleError(.malformed, "directory: \(error.message)")
    }
    guard let version = ModelVersion(fields.version) else {
      throw BundleError(.malformed, "directory: version: expected a number from 1, found 0")
    }
    self.version = version
    createdMilliseconds = fields.createdMilliseconds
    notAfterMilliseconds = fields.notAfterMilliseconds
    engineMin = fields.engineMin
    guard engineMin <= engineGeneration else {
      throw BundleError(
        .unsupported,
        "engine: expected generation \(engineGeneration) at most, found \(engineMin); it needs a server of engine generation \(engineMin)"
      )
    }
    sections = try fields.sections.map { section throws(BundleError) in try SectionEntry(section) }
    self.digest = digest
  }

  /// Checks that the sections fill the file to its last byte: ascending, aligned, without overlap, with zeros between
  /// them.
  ///
  /// - Parameter bytes: the whole file, as long as its header says.
  func checkLayout(of bytes: UnsafeRawBufferPointer, header: BundleHeader) throws(BundleError) {
    var end = header.signatures.upperBound
    var seen = Set<UInt32>()
    for section in sections {
      guard seen.insert(section.number).inserted else {
        throw BundleError(.malformed, "section \(section.name): expected once, found twice")
      }
      guard section.offset >= end else {
        throw BundleError(
          .malformed,
          "section \(section.name): offset: expected at least \(end), found \(section.offset), which overlaps")
      }
      // Both are below 2⁴⁸.
      guard section.offset + section.storedBytes <= header.fileBytes else {
        throw BundleError(
          .malformed,
          "section \(section.name): expected its end within \(header.fileBytes) bytes, found \(section.offset + section.storedBytes)"
        )
      }
      try Gap.check(bytes, end..<section.offset, lessThan: section.alignment, before: "section \(section.name)")
      end = section.offset + section.storedBytes
    }
    guard end == header.fileBytes else {
      throw BundleError(
        .malformed,
        "file: expected its end behind the last section at \(end), found \(header.fileBytes - end) bytes more")
    }
  }

  /// Compares the sizes that the sections promise with the limits, before any section is decompressed.
  func checkSizes(limits: BundleLimits) throws(BundleError) {
    var total = 0
    for section in sections {
      // At most 64 sections below 2⁴⁸ each: the sum fits.
      total += section.rawBytes
      let rawBytesMax = section.type == .weights ? limits.rawBytesMax : Limits.metadataBytesMax
      guard section.rawBytes <= rawBytesMax else {
        throw BundleError(
          .oversized, "section \(section.name): raw bytes: expected at most \(rawBytesMax), found \(section.rawBytes)")
      }
    }
    guard total <= limits.rawBytesMax else {
      throw BundleError(
        .oversized, "sections: raw bytes together: expected at most \(limits.rawBytesMax), found \(total)")
    }
  }

  /// Checks the SHA-256 of every section, known or not.
  func checkHashes(of bytes: UnsafeRawBufferPointer) throws(BundleError) {
    for section in sections {
      let stored = section.bytes(in: bytes)
      var hash = SHA256()
      Pieces.forEach(stored.count) { hash.update(UnsafeRawBufferPointer(rebasing: stored[$0])) }
      let found = hash.finalize()
      guard found == section.sha256 else {
        throw BundleError(
          .badHash, "section \(section.name): SHA-256: expected \(Hex.text(section.sha256)), found \(Hex.text(found))")
      }
    }
  }
}

extension SectionEntry {
  /// Bound of offsets and sizes: far above any file, far below overflow.
  private static let bytesMax = UInt64(1) << 48

  init(_ fields: ManifestFields.Section) throws(BundleError) {
    number = fields.type
    isOptional = fields.isOptional
    let name = SectionType(rawValue: number)?.description ?? "section \(number)"
    guard number != 0 else {
      throw BundleError(.malformed, "section type: expected a number from 1, found 0")
    }
    guard let codec = UInt8(exactly: fields.codec).flatMap(SectionCodec.init(rawValue:)) else {
      throw BundleError(
        .unsupported,
        "section \(name): codec: expected raw (0) or zstd (1), found \(fields.codec); it needs a newer reader")
    }
    self.codec = codec
    guard fields.alignment.nonzeroBitCount == 1, fields.alignment <= UInt32(BundleFormat.alignmentMax) else {
      throw BundleError(
        .malformed,
        "section \(name): alignment: expected a power of two up to \(BundleFormat.alignmentMax), found \(fields.alignment)"
      )
    }
    alignment = Int(fields.alignment)
    guard fields.offset <= Self.bytesMax, fields.offset % UInt64(alignment) == 0 else {
      throw BundleError(
        .malformed, "section \(name): offset: expected a multiple of \(alignment), found \(fields.offset)")
    }
    offset = Int(fields.offset)
    guard (1...Self.bytesMax).contains(fields.storedBytes), (1...Self.bytesMax).contains(fields.rawBytes) else {
      throw BundleError(
        .malformed,
        "section \(name): bytes: expected 1 to 2^48, found \(fields.storedBytes) stored and \(fields.rawBytes) raw")
    }
    storedBytes = Int(fields.storedBytes)
    rawBytes = Int(fields.rawBytes)
    switch codec {
    case .raw:
      guard rawBytes == storedBytes else {
        throw BundleError(
          .malformed, "section \(name): raw bytes: expected \(storedBytes) as stored, found \(rawBytes)")
      }
    case .zstd:
      guard rawBytes <= Self.rawBytesMax(compressedTo: storedBytes) else {
        throw BundleError(
          .badCompression,
          "section \(name): raw bytes: expected at most \(Self.rawBytesMax(compressedTo: storedBytes)) of \(storedBytes) stored, found \(rawBytes)"
        )
      }
    }
    guard fields.sha256.count == BundleFormat.sha256Bytes else {
      throw BundleError(
        .malformed, "section \(name): SHA-256: expected \(BundleFormat.sha256Bytes) bytes, found \(fields.sha256.count)"
      )
    }
    sha256 = fields.sha256
    guard type != nil || isOptional else {
      throw BundleError(
        .unsupported,
        "section type: expected at most \(SectionType.allCases.count), found \(number), which is required; it needs a reader newer than format \(BundleFormat.major).\(BundleFormat.minor)"
      )
    }
  }

  /// The most raw bytes that a compressed section may promise; one that promises more is a decompression bomb.
  static func rawBytesMax(compressedTo storedBytes: Int) -> Int {
    storedBytes * BundleFormat.compressionRatioMax + BundleFormat.compressionSlackBytes
  }

  /// The stored bytes of a section whose layout was checked.
  func bytes(in file: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: file[offset..<offset + storedBytes])
  }
}

/// The manifest as it stands on the wire, unchecked.
package struct ManifestFields: Equatable {
  package struct Section: Equatable {
    package var type: UInt32
    package var codec: UInt32
    package var isOptional: Bool
    package var offset: UInt64
    package var storedBytes: UInt64
    package var rawBytes: UInt64
    package var alignment: UInt32
    package var sha256: [UInt8]
  }

  package var model: String
  package var version: UInt64
  package var createdMilliseconds: UInt64
  package var notAfterMilliseconds: UInt64
  package var engineMin: UInt32
  package var sections: [Section]
}

extension ManifestFields {
  init(decoding bytes: UnsafeRawBufferPointer) throws(BundleError) {
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "directory", needletail__v1__directory__init)
    defer { withExtendedLifetime(memory) {} }
    try Bounds.check(message.n_sections, 1...Limits.sectionsMax, "directory: sections")
    model = MessageValues.text(message.model)
    version = message.version
    createdMilliseconds = message.created_ms
    notAfterMilliseconds = message.not_after_ms
    engineMin = message.engine_min
    sections = MessageValues.messages(message.sections, message.n_sections).map { section in
      Section(
        type: section.type, codec: UInt32(section.codec.rawValue), isOptional: section.optional != 0,
        offset: section.offset, storedBytes: section.stored_bytes, rawBytes: section.raw_bytes,
        alignment: section.alignment, sha256: MessageValues.array(section.sha256.data, section.sha256.len))
    }
  }

  func encoded() -> [UInt8] {
    let memory = MessageBuilder()
    let messages = sections.map { section in
      memory.build(needletail__v1__section__init) {
        $0.type = section.type
        $0.codec = Needletail__V1__Codec(section.codec)
        $0.optional = section.isOptional ? 1 : 0
        $0.offset = section.offset
        $0.stored_bytes = section.storedBytes
        $0.raw_bytes = section.rawBytes
        $0.alignment = section.alignment
        $0.sha256 = memory.data(section.sha256)
      }
    }
    return memory.pack(
      memory.build(needletail__v1__directory__init) {
        $0.model = memory.text(model)
        $0.version = version
        $0.created_ms = createdMilliseconds
        $0.not_after_ms = notAfterMilliseconds
        $0.engine_min = engineMin
        $0.n_sections = messages.count
        $0.sections = memory.array(messages)
      })
  }
}
