internal import NeedletailCore
internal import NeedletailRedis

/// What a script of ``JobScripts`` answers.
struct JobReply {
  /// What was due and has been done, by any server's job.
  struct Swept: Equatable {
    var overdue = 0
    var lost = 0
    var expired = 0
    /// Jobs that wait again because their server was lost.
    var takenOver = 0
  }

  /// What there is.
  struct Counts: Equatable {
    var queued = 0
    var running = 0
    var done = 0
    /// Bytes of all requests, and of all results.
    var requestBytes = 0
    var resultBytes = 0
  }

  let swept: Swept
  let counts: Counts
  let verdict: String
  /// What belongs to the verdict.
  let rest: [RedisReply]

  /// - Throws: `.malformed` for what no script answers.
  init(_ reply: RedisReply) throws(RedisError) {
    guard let list = reply.list, list.count >= 3, let swept = Self.integers(list[0], 4),
      let counts = Self.integers(list[1], 5), let verdict = list[2].text
    else { throw RedisError(.malformed, "jobs: expected the answer of a script, found something else") }
    self.swept = Swept(overdue: swept[0], lost: swept[1], expired: swept[2], takenOver: swept[3])
    self.counts = Counts(
      queued: counts[0], running: counts[1], done: counts[2], requestBytes: counts[3], resultBytes: counts[4])
    self.verdict = verdict
    rest = Array(list[3...])
  }

  private static func integers(_ reply: RedisReply, _ count: Int) -> [Int]? {
    guard let list = reply.list, list.count == count else { return nil }
    let numbers = list.compactMap(\.integer)
    return numbers.count == count && numbers.allSatisfy { $0 >= 0 } ? numbers : nil
  }
}

/// A job as callers see it, out of its record in Redis. Other programs may have written it, so that every field is
/// checked.
struct JobRecord: Equatable {
  var status: JobStatus
  /// Bytes of the result of a job that is done.
  var resultBytes = 0
  /// Bytes of the JSON in front of a result's bytes; nil: it is all JSON.
  var resultJSONBytes: Int?

  /// - Parameter fields: as the function `status` of ``JobScripts`` returns them.
  /// - Throws: `.internal` for a record that cannot be read.
  init(_ id: JobID, _ fields: RedisReply?) throws(ServingError) {
    guard let list = fields?.list, list.count == 12, list[0].text == "\(SharedJobOptions.layout)" else {
      throw Self.unreadable("one of layout \(SharedJobOptions.layout)")
    }
    guard let word = list[1].text, let state = word == "uploading" ? .queued : JobState(rawValue: word) else {
      throw Self.unreadable("a state")
    }
    guard let model = list[2].text, !model.isEmpty, let age = list[6].integer, let left = list[7].integer else {
      throw Self.unreadable("a model and times")
    }
    status = JobStatus(id: id, model: model, state: state, ageMilliseconds: UInt64(clamping: age))
    status.version = UInt64(try Self.number(list[3], "a version"))
    status.rows = try Self.number(list[4], "a number of rows")
    status.rowsDone = try Self.number(list[5], "a number of rows")
    switch state {
    case .done:
      status.expiresInMilliseconds = UInt64(clamping: left)
      resultBytes = try Self.number(list[10], "the bytes of a result")
      resultJSONBytes = try Self.jsonBytes(list[11], of: resultBytes)
    case .failed: status.error = try Self.error(list[8], list[9])
    case .queued, .running, .cancelled, .expired: break
    }
  }

  /// Why a job failed: a word of a script, or what the server that ran it wrote.
  private static func error(_ fault: RedisReply, _ error: RedisReply) throws(ServingError) -> ServingError {
    switch fault.text {
    case "overdue": return .deadlineExceeded("job: expected its turn within the time that jobs have, found none")
    case "late": return .deadlineExceeded("job: expected its end within the time that it had, found it running")
    case "lost":
      return .internal(
        "job: expected its end, found that \(error.text.flatMap { Int($0) } ?? 0) servers were lost while they ran it")
    default: break
    }
    guard let bytes = error.bytes, let read = JobErrorText.decode(bytes) else { throw unreadable("an error") }
    return read
  }

  /// A decimal number; nothing is 0.
  static func number(_ reply: RedisReply, _ what: String) throws(ServingError) -> Int {
    guard let text = reply.text, text.utf8.count <= 15, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
      throw unreadable(what)
    }
    return Int(text) ?? 0
  }

  /// Bytes of the JSON of a body; −1: it is all JSON.
  static func jsonBytes(_ reply: RedisReply, of bytes: Int) throws(ServingError) -> Int? {
    if reply.text == "-1" { return nil }
    let count = try number(reply, "the bytes of JSON")
    guard count <= bytes else { throw unreadable("bytes of JSON within its body") }
    return count
  }

  static func unreadable(_ expected: String) -> ServingError {
    .internal("job: expected \(expected) in its record in the shared store, found something else")
  }
}

/// A job that a server has got to run, out of its record in Redis.
struct JobClaim {
  let model: ModelReference
  /// Bytes of the request.
  let bytes: Int
  /// Bytes of its JSON; nil: it is all JSON.
  let jsonBytes: Int?
  let leftMilliseconds: UInt64
  let ageMilliseconds: UInt64

  /// - Parameters:
  ///   - fields: as the script `claim` returns them.
  ///   - bytesMax: longest request that this server runs.
  /// - Throws: the error with which the job fails.
  init(_ fields: RedisReply?, bytesMax: Int) throws(ServingError) {
    guard let list = fields?.list, list.count == 8, list[0].text == "\(SharedJobOptions.layout)" else {
      throw JobRecord.unreadable("one of layout \(SharedJobOptions.layout)")
    }
    guard let name = list[1].text, !name.isEmpty else { throw JobRecord.unreadable("a model") }
    let version = UInt64(try JobRecord.number(list[2], "a version"))
    model = ModelReference(model: name, selector: version == 0 ? .serving : .version(version))
    bytes = try JobRecord.number(list[4], "the bytes of a request")
    // More than there are is a mistake of the caller, and found when the request is read.
    jsonBytes = try JobRecord.jsonBytes(list[3], of: .max)
    guard let left = list[5].integer, let age = list[6].integer, left >= 0, age >= 0 else {
      throw JobRecord.unreadable("times")
    }
    leftMilliseconds = UInt64(left)
    ageMilliseconds = UInt64(age)
    guard bytes <= bytesMax else {
      throw .invalidArgument(
        "body: expected at most \(bytesMax) bytes at the server that runs the job, found \(bytes)",
        .init(limit: .init(JobService.requestBytesLimit, maximum: UInt64(bytesMax), found: UInt64(bytes))))
    }
  }
}

extension JobID {
  /// - Returns: nil for anything but the text of an id.
  init?(_ reply: RedisReply?) {
    guard let bytes = reply?.bytes, let id = bytes.withUnsafeBytes({ JobID($0) }) else { return nil }
    self = id
  }
}
