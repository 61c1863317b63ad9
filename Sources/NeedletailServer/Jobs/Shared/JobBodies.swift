internal import NIOCore
internal import NeedletailCore
internal import NeedletailRedis

/// Moves requests and results to Redis and back, part by part: Redis serves others in between, a slow one is told from one
/// that stands still, and no part that comes back is longer than expected.
struct JobBodies: Sendable {
  private let scripts: JobScriptRunner

  init(_ scripts: JobScriptRunner) { self.scripts = scripts }

  private static func deadline() -> Instant {
    Instant.now().advanced(byMicroseconds: Limits.jobStoreBodySeconds * 1_000_000)
  }

  private static func check(_ deadline: Instant) throws(RedisError) {
    guard Instant.now() < deadline else {
      throw RedisError(
        .unreachable, "jobs: expected a body to be moved within \(Limits.jobStoreBodySeconds) s, found it unfinished")
    }
  }

  /// Submits a job with its request.
  /// - Parameter arguments: those of the script `submit`, up to the first part of the body.
  /// - Returns: the last answer.
  func send(
    _ job: Jobs.Submission, _ arguments: [RedisArgument], _ connection: RedisConnection
  ) throws(RedisError) -> JobReply {
    let deadline = Self.deadline()
    let upload = job.request
    defer { withExtendedLifetime(upload) {} }
    let all = upload.bytes
    var sent = min(all.count, Limits.jobPartBytes)
    let first = UnsafeRawBufferPointer(rebasing: all[..<sent])
    let pause = RedisArgument.number(Limits.jobUploadMilliseconds)
    var reply = try scripts.run(JobScripts.submit, arguments + [.bytes(first), pause], connection)
    guard reply.verdict == "new" else { return reply }
    while sent < all.count {
      try Self.check(deadline)
      let count = min(all.count - sent, Limits.jobPartBytes)
      let part = UnsafeRawBufferPointer(rebasing: all[sent..<sent + count])
      sent += count
      reply = try scripts.run(
        JobScripts.append, [.text("\(job.id)"), .bytes(part), .number(sent == all.count ? 1 : 0), pause], connection)
      guard reply.verdict == "ok" else { return reply }
    }
    return reply
  }

  /// Stores the result of a job.
  /// - Parameters:
  ///   - owned: id and owner.
  ///   - life: time in milliseconds for which its parts are kept.
  /// - Returns: false where the job is another's, or nobody's, by now.
  func store(
    _ result: JobResult, _ owned: [RedisArgument], life: Int, _ connection: RedisConnection
  ) throws(RedisError) -> Bool {
    let deadline = Self.deadline()
    let stored: Result<Bool, RedisError> = result.body.withUnsafeReadableBytes { all in
      Result { () throws(RedisError) in
        var sent = 0
        while sent < all.count {
          try Self.check(deadline)
          let count = min(all.count - sent, Limits.jobPartBytes)
          let part = UnsafeRawBufferPointer(rebasing: all[sent..<sent + count])
          let reply = try scripts.run(
            JobScripts.part, owned + [.number(sent), .bytes(part), .number(life)], connection)
          guard reply.verdict == "kept" else { return false }
          sent += count
        }
        return true
      }
    }
    return try stored.get()
  }

  /// Reads a body.
  /// - Parameters:
  ///   - kind: `request` or `result`.
  ///   - take: gets the parts, no more bytes than expected.
  /// - Returns: false where it is not there, or not of that length.
  func read(
    _ kind: String, _ id: JobID, bytes: Int, _ connection: RedisConnection, _ take: ([UInt8]) -> Void
  ) throws(RedisError) -> Bool {
    let deadline = Self.deadline()
    let key = scripts.key(kind, id)
    var found = 0
    var index = 0
    while found < bytes {
      try Self.check(deadline)
      let reply = try connection.run(
        JobScripts.read, keys: [key], [.number(index), .number(Limits.jobPartBytesMax)])
      guard let list = reply.list, list.first?.text == "part", list.count == 2, let part = list[1].bytes,
        !part.isEmpty, part.count <= bytes - found
      else { return false }
      take(part)
      found += part.count
      index += 1
    }
    return true
  }

  static func hexadecimal(_ bytes: [UInt8]) -> String {
    String(decoding: bytes.flatMap { Hexadecimal.digits(UInt32($0)).suffix(2) }, as: UTF8.self)
  }
}
