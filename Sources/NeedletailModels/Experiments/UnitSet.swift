internal import FoundationEssentials

/// Digests of the units whose outcomes an experiment has counted. As text they are base64 of eight bytes each.
struct UnitSet: Equatable, Sendable {
  private var digests: Set<UInt64> = []

  var count: Int { digests.count }

  /// - Returns: whether the unit was not there.
  mutating func insert(_ digest: UInt64) -> Bool { digests.insert(digest).inserted }
}

extension UnitSet: Codable {
  init(from decoder: any Decoder) throws {
    let data = try decoder.singleValueContainer().decode(Data.self)
    guard data.count % 8 == 0 else {
      throw DecodingError.dataCorrupted(
        .init(codingPath: decoder.codingPath, debugDescription: "expected digests of eight bytes"))
    }
    digests.reserveCapacity(data.count / 8)
    data.withUnsafeBytes { bytes in
      for offset in stride(from: 0, to: bytes.count, by: 8) {
        digests.insert(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
      }
    }
  }

  func encode(to encoder: any Encoder) throws {
    var data = Data(capacity: 8 * digests.count)
    // In order, so that equal sets give equal files.
    for digest in digests.sorted() {
      withUnsafeBytes(of: digest.littleEndian) { data.append(contentsOf: $0) }
    }
    var container = encoder.singleValueContainer()
    try container.encode(data)
  }
}
