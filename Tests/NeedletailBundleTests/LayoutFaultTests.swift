import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// The assembly of a bundle, and what happens to its directory and its bytes.
struct FaultyLayout {
  var assembly: BundleAssembly
  var alter: (inout ManifestFields) -> Void = { _ in }
  var patch: (inout [UInt8]) -> Void = { _ in }

  func bytes() throws -> [UInt8] {
    var bytes = try assembly.encode(signing: [BundleFixtures.key], alter: alter)
    patch(&bytes)
    return bytes
  }
}

@Suite("Faults of layout, directory and header")
struct LayoutFaultTests {
  static let faults: [Fault<FaultyLayout>] = [
    Fault("bad-magic", .badMagic) { $0.patch = { $0[1] = UInt8(ascii: "X") } },
    Fault("major-2", .unsupported) { $0.patch = { $0[8] = 2 } },
    Fault("reserved-byte", .malformed) { $0.patch = { $0[12] = 1 } },
    Fault("checksum-changed", .badHash) { $0.patch = { $0[63] ^= 1 } },
    Fault("unknown-required-feature", .unsupported) { $0.patch = { $0[23] = 0x80 } },
    Fault("directory-elsewhere", .malformed) { $0.patch = { $0[32] = 65 } },
    Fault("directory-empty", .malformed) { $0.patch = { $0.replaceSubrange(40..<44, with: [0, 0, 0, 0]) } },
    Fault("directory-huge", .oversized) { $0.patch = { $0[43] = 0xFF } },
    Fault("signature-room-huge", .oversized) { $0.patch = { $0[47] = 0xFF } },
    Fault("signature-room-none", .malformed) { $0.patch = { $0.replaceSubrange(44..<48, with: [0, 0, 0, 0]) } },
    Fault("file-bytes-huge", .oversized) { $0.patch = { $0[55] = 0x7F } },
    Fault("file-bytes-tiny", .malformed) { $0.patch = { $0.replaceSubrange(48..<52, with: [65, 0, 0, 0]) } },
    Fault("optional-feature-flipped", .badHash) { $0.patch = { $0[24] = 1 } },
    Fault("optional-feature-set-later", .badSignature) { layout in
      layout.patch = { bytes in
        bytes[24] = 1
        bytes = BundleAssembly.checksummed(bytes)
      }
    },
    Fault("minor-set-later", .badSignature) { layout in
      layout.patch = { bytes in
        bytes[10] = 1
        bytes = BundleAssembly.checksummed(bytes)
      }
    },
    Fault("bad-hash", .badHash) { $0.patch = { $0[$0.count - 1] ^= 1 } },
    Fault("gap-not-zero", .malformed) { layout in
      // The directory's length leaves a gap before the weights, which stand last.
      let weights = UInt64(layout.assembly.sections.last!.stored.count)
      layout.patch = { $0[$0.count - Int(weights) - 1] = 1 }
    },
    Fault("gap-wide", .malformed) { layout in
      layout.alter = { $0.sections.removeFirst() }
    },
    Fault("overlap", .malformed) { layout in layout.alter = { $0.sections[1].offset = $0.sections[0].offset } },
    Fault("duplicate-section", .malformed) { $0.assembly.sections.append($0.assembly.sections[0]) },
    Fault("descending-sections", .malformed) { layout in layout.alter = { $0.sections.swapAt(0, 1) } },
    Fault("section-behind-the-end", .malformed) { layout in layout.alter = { $0.sections[7].offset += 64 } },
    Fault("section-offset-huge", .malformed) { layout in layout.alter = { $0.sections[7].offset = .max & ~63 } },
    Fault("section-bytes-huge", .malformed) { layout in
      layout.alter = {
        $0.sections[7].storedBytes = .max
        $0.sections[7].rawBytes = .max
      }
    },
    Fault("section-misaligned", .malformed) { layout in layout.alter = { $0.sections[7].offset += 1 } },
    Fault("alignment-3", .malformed) { layout in layout.alter = { $0.sections[0].alignment = 3 } },
    Fault("alignment-0", .malformed) { layout in layout.alter = { $0.sections[0].alignment = 0 } },
    Fault("alignment-8192", .malformed) { layout in layout.alter = { $0.sections[0].alignment = 8192 } },
    Fault("hash-short", .malformed) { layout in layout.alter = { $0.sections[0].sha256.removeLast() } },
    Fault("raw-size-false", .malformed) { layout in layout.alter = { $0.sections[0].rawBytes += 1 } },
    Fault("unknown-codec", .unsupported) { layout in layout.alter = { $0.sections[0].codec = 2 } },
    Fault("section-type-0", .malformed) { layout in layout.alter = { $0.sections[0].type = 0 } },
    Fault("unknown-required-section", .unsupported) { layout in layout.alter = { $0.sections[0].type = 77 } },
    Fault("required-calibration", .unsupported) { layout in
      layout.assembly.sections.append(.init(number: 6, codec: .raw, alignment: 8, stored: [1], rawBytes: 1))
    },
    Fault("no-graph", .malformed) { $0.assembly.sections.removeAll { $0.number == SectionType.graph.rawValue } },
    Fault("no-features", .malformed) { $0.assembly.sections.removeAll { $0.number == SectionType.features.rawValue } },
    Fault("no-weights", .malformed) { $0.assembly.sections.removeAll { $0.number == SectionType.weights.rawValue } },
    Fault("no-sections", .malformed) { $0.assembly.sections = [] },
    Fault("too-many-sections", .oversized) { layout in
      for number in UInt32(100)...200 {
        layout.assembly.sections.append(
          .init(number: number, isOptional: true, codec: .raw, alignment: 8, stored: [1], rawBytes: 1))
      }
    },
    Fault("engine-of-the-future", .unsupported) { $0.assembly.engineMin = engineGeneration + 1 },
    Fault("model-with-a-path", .malformed) { $0.assembly.model = "../wine" },
    Fault("version-0", .malformed) { $0.assembly.version = 0 },
    Fault("another-model", .wrongName) { $0.assembly.model = "beer" },
    Fault("another-version", .wrongName) { $0.assembly.version = 2 },
    Fault("expired", .expired) { $0.assembly.notAfterMilliseconds = 1_800_000_000_000 },
    Fault("signatures-length-huge", .malformed) { layout in
      layout.patch = { bytes in bytes[Self.signatures(in: bytes) + 3] = 0xFF }
    },
    Fault("signatures-padding-not-zero", .malformed) { layout in
      layout.patch = { bytes in bytes[Self.signatures(in: bytes) + 2047] = 1 }
    },
    Fault("weights-without-an-end", .malformed) { layout in
      layout.assembly.sections[7].stored += [UInt8](repeating: 0, count: 64)
      layout.assembly.sections[7].rawBytes += 64
    },
  ]

  private static func signatures(in bytes: [UInt8]) -> Int { 64 + Int(bytes[40]) + Int(bytes[41]) << 8 }

  @Test(arguments: faults)
  func aFaultyLayoutIsRefused(fault: Fault<FaultyLayout>) throws {
    var layout = FaultyLayout(assembly: try assembly())
    #expect(refusal(try layout.bytes()) == nil)
    try fault.apply(&layout)
    let error = refusal(try layout.bytes())
    #expect(error?.reason == fault.reason, "\(error?.message ?? "accepted")")
  }

  @Test func anUnknownOptionalSectionIsSkipped() throws {
    var assembly = try assembly()
    assembly.sections.append(.init(number: 77, isOptional: true, codec: .raw, alignment: 8, stored: [1], rawBytes: 1))
    #expect(try read(assembly.encode(signing: [BundleFixtures.key])) == BundleFixtures.contents())
  }

  @Test func aBundleServesUntilItExpires() throws {
    let bytes = try BundleFixtures.bundle(notAfterMilliseconds: 2000)
    #expect(throws: Never.self) { try read(bytes, nowMilliseconds: 1999) }
    #expect(throws: BundleError.self) { try read(bytes, nowMilliseconds: 2000) }
  }
}

@Suite("Faults of compression")
struct CompressionFaultTests {
  /// A frame of zeros: magic, descriptor, size, then RLE blocks of 128 KiB, as RFC 8878 has them.
  private static func bomb(rawBytes: UInt64, descriptor: [UInt8] = [0xE0]) -> [UInt8] {
    var frame: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD] + descriptor
    frame += withUnsafeBytes(of: rawBytes.littleEndian) { Array($0) }
    var left = rawBytes
    while left > 0 {
      let block = min(left, 128 << 10)
      left -= block
      let header = UInt32(block) << 3 | 0b010 | (left == 0 ? 1 : 0)
      frame += [UInt8(header & 0xFF), UInt8(header >> 8 & 0xFF), UInt8(header >> 16), 0]
    }
    return frame
  }

  static let faults: [Fault<BundleAssembly.Section>] = [
    Fault("raw-size-too-small", .badCompression) { $0.rawBytes -= 1 },
    Fault("raw-size-too-large", .badCompression) { $0.rawBytes += 1 },
    Fault("bytes-behind-the-frame", .badCompression) { $0.stored += [0] },
    Fault("two-frames", .badCompression) { $0.stored += $0.stored },
    Fault("frame-cut", .badCompression) { $0.stored.removeLast() },
    Fault("no-frame", .badCompression) { $0.stored = [1, 2, 3] },
    Fault("skippable-frame", .badCompression) { $0.stored = [0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0] + $0.stored[..<4] },
    Fault("dictionary", .badCompression) { $0.stored[4] |= 1 },
    Fault("honest-bomb", .badCompression) { section in
      section.stored = Self.bomb(rawBytes: 2 << 30)
      section.rawBytes = 2 << 30
    },
    Fault("false-bomb", .badCompression) { section in
      section.stored = Self.bomb(rawBytes: 2 << 30)
      section.rawBytes = 1024
    },
    Fault("window-of-2-gib", .badCompression) { section in
      section.stored = [0x28, 0xB5, 0x2F, 0xFD, 0xC0, 21 << 3] + Self.bomb(rawBytes: 1024)[5...]
      section.rawBytes = 1024
    },
  ]

  @Test(arguments: faults)
  func aFaultyCompressedSectionIsRefusedAtOnce(fault: Fault<BundleAssembly.Section>) throws {
    var contents = BundleFixtures.contents()
    contents.lineage?.configuration = String(repeating: "alpha: 1\n", count: 100)
    var assembly = try assembly(contents, compressing: true)
    #expect(refusal(try assembly.encode(signing: [BundleFixtures.key])) == nil)
    let index = try #require(assembly.sections.firstIndex { $0.number == SectionType.lineage.rawValue })
    #expect(assembly.sections[index].codec == .zstd)
    try fault.apply(&assembly.sections[index])
    let bytes = try assembly.encode(signing: [BundleFixtures.key])
    var error: BundleError?
    let elapsed = ContinuousClock().measure { error = refusal(bytes) }
    #expect(error?.reason == fault.reason, "\(error?.message ?? "accepted")")
    #expect(elapsed < .seconds(1))
  }
}
