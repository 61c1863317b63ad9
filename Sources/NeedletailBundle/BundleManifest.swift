public import NeedletailCore

/// What a section holds. Raw values are those of `needletail.v1.SectionType`.
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

/// How the bytes of a section are stored. Raw values are those of `needletail.v1.Codec`.
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

/// Where one section stands in the file.
public struct SectionEntry: Sendable, Equatable {
  /// As stored; `type` is nil for a number this reader does not know.
  public var number: UInt32
  /// A reader that does not know the type may skip the section.
  public var isOptional: Bool
  public var codec: SectionCodec
  /// From the start of the file, a multiple of `alignment`.
  public var offset: Int
  public var storedBytes: Int
  public var rawBytes: Int
  /// A power of two.
  public var alignment: Int
  /// Of the stored bytes; 32 bytes.
  public var sha256: [UInt8]

  public var type: SectionType? { SectionType(rawValue: number) }

  /// The name for people: `weights`, or `section 17` for an unknown one.
  public var name: String { type?.description ?? "section \(number)" }
}

/// The signed part of a bundle: its model and version, and where its sections lie. `Directory` in `proto/bundle.md`.
public struct BundleManifest: Sendable, Equatable {
  public var model: ModelID
  public var version: ModelVersion
  /// Unix time.
  public var createdMilliseconds: UInt64
  /// Unix time from which the bundle is refused; 0: never.
  public var notAfterMilliseconds: UInt64
  /// The lowest engine generation that can run the graph.
  public var engineMin: UInt32
  public var sections: [SectionEntry]
  /// SHA-256 of the manifest's bytes, lower-case hexadecimal: the identity of the bundle.
  public var digest: String
}
