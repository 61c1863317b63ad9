public import NeedletailCore

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
