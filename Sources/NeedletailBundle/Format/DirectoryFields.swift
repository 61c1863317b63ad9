internal import CNeedletailProto
internal import NeedletailCore

/// The directory message as it stands on the wire, nothing checked.
package struct DirectoryFields: Equatable {
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

extension DirectoryFields {
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
    let memory = MessageMemory.forBuilding()
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
