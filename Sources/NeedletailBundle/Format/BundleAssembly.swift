internal import NeedletailCore
internal import NeedletailCrypto

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
  /// Bits that a reader must know; without any the file is of format 1.0.
  package var requiredFeatures: UInt64
  package var sections: [Section]

  package init(
    model: String, version: UInt64, createdMilliseconds: UInt64, notAfterMilliseconds: UInt64 = 0,
    engineMin: UInt32 = engineGeneration, requiredFeatures: UInt64 = 0, sections: [Section]
  ) {
    self.model = model
    self.version = version
    self.createdMilliseconds = createdMilliseconds
    self.notAfterMilliseconds = notAfterMilliseconds
    self.engineMin = engineMin
    self.requiredFeatures = requiredFeatures
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
    header.minor = requiredFeatures == 0 ? 0 : BundleFormat.minor
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
