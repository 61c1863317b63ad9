internal import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailSystem

/// Head of a request that submits a job: all that is known before its body is there. Its texts are copies.
struct JobHead: Sendable {
  /// Id of the call on its connection.
  var callID: UInt64
  var model: ModelReference
  var bodyBytes: Int
  /// Value of `Inference-Header-Content-Length`.
  var jsonBytes: Int?
  /// The caller's own key for the job; nil: none was sent.
  var key: String?
}

/// Body of a request that submits a job, taken over from its connection as it arrives, so that no event loop copies it as a
/// whole. It grows page by page with what arrives.
///
/// `@unchecked Sendable`: the connection's loop fills it; once it is whole nobody writes to it.
final class JobUpload: @unchecked Sendable {
  let head: JobHead
  private let reservation: JobReservation
  private let memory: UnsafeMutableRawBufferPointer
  private(set) var bytesArrived = 0

  /// - Returns: nil if the system has no memory.
  init?(_ head: JobHead, _ reservation: JobReservation) {
    guard let block = PageMemory.map(bytes: max(1, head.bodyBytes)) else { return nil }
    self.head = head
    self.reservation = reservation
    memory = UnsafeMutableRawBufferPointer(start: block, count: head.bodyBytes)
  }

  deinit {
    if let block = memory.baseAddress { PageMemory.unmap(block, bytes: max(1, memory.count)) }
  }

  var isWhole: Bool { bytesArrived == memory.count }

  /// Takes over bytes that arrived.
  /// - Returns: how many belong to the body.
  func append(_ bytes: UnsafeRawBufferPointer) -> Int {
    let count = min(bytes.count, memory.count - bytesArrived)
    UnsafeMutableRawBufferPointer(rebasing: memory[bytesArrived...]).copyMemory(
      from: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
    bytesArrived += count
    return count
  }

  /// The body. Valid as long as this object.
  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(memory) }

  /// Hash of the body and of where its JSON ends.
  var digest: [UInt8] {
    var hash = SHA256()
    withUnsafeBytes(of: head.jsonBytes ?? -1) { hash.update($0) }
    hash.update(bytes)
    return hash.finalize()
  }

  /// Drops a reference on another thread: freeing megabytes is not for an event loop.
  static func drop(_ upload: JobUpload) {
    Task { withExtendedLifetime(upload) {} }
  }
}
