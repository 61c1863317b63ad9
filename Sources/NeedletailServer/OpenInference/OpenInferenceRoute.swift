internal import NeedletailCore

/// What a request of the Open Inference Protocol asks for, by its path.
enum OpenInferenceRoute: Equatable {
  case live
  case ready
  case server
  /// Version, features and limits: the binary protocol's call `server_info`.
  case serverInfo
  case model(ModelQuestion)
  case infer
  /// Submission of a job.
  case submit
  case job(JobQuestion)
  /// Outcomes of earlier inferences: the binary protocol's call `feedback`.
  case feedback
  case statistics
  case index
  case load
  case unload

  /// What is asked about one model; all of it is read from its description.
  enum ModelQuestion: UInt8, Equatable {
    case metadata
    case ready
    case configuration
    case statistics
  }

  /// Path segments behind `/v2`, percent-decoded, and what they say.
  struct Match {
    var route: OpenInferenceRoute
    /// Name of the model, or id of the job.
    var model = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Text of the version; nil: the one that serves.
    var version: UnsafeRawBufferPointer?
    var method: HTTPHead.Method
    /// Whether the path has the method DELETE too.
    var allowsDelete = false
  }

  private static let segmentsMax = 8

  /// - Parameters:
  ///   - path: without the query.
  ///   - memory: room for as many bytes as the path has, for names with escapes.
  /// - Returns: nil where nothing has this path.
  static func match(_ path: UnsafeRawBufferPointer, memory: UnsafeMutableRawPointer) -> Match? {
    withUnsafeTemporaryAllocation(of: UnsafeRawBufferPointer.self, capacity: segmentsMax) { parts in
      var count = 0
      var used = 0
      var rest = path.dropFirst()
      while true {
        guard count < segmentsMax else { return nil }
        let end = rest.firstIndex(of: UInt8(ascii: "/")) ?? rest.endIndex
        guard let decoded = decode(rest[..<end], to: memory + used) else { return nil }
        parts[count] = UnsafeRawBufferPointer(start: memory + used, count: decoded)
        used += decoded
        count += 1
        guard end < rest.endIndex else { break }
        rest = rest[(end + 1)...]
      }
      // One slash at the end is no segment.
      if count > 1, parts[count - 1].isEmpty { count -= 1 }
      return match(UnsafeBufferPointer(rebasing: parts[..<count]))
    }
  }

  private static func match(_ parts: UnsafeBufferPointer<UnsafeRawBufferPointer>) -> Match? {
    func part(_ index: Int, _ word: StaticString) -> Bool { index < parts.count && word.isEqual(to: parts[index]) }
    guard part(0, "v2") else { return nil }
    switch parts.count {
    case 1: return Match(route: .server, method: .get)
    case 2 where part(1, "server"): return Match(route: .serverInfo, method: .get)
    case 3 where part(1, "health") && part(2, "live"): return Match(route: .live, method: .get)
    case 3 where part(1, "health") && part(2, "ready"): return Match(route: .ready, method: .get)
    case 3 where part(1, "jobs"):
      return Match(route: .job(.status), model: parts[2], method: .get, allowsDelete: true)
    case 4 where part(1, "jobs") && part(3, "result"):
      return Match(route: .job(.result), model: parts[2], method: .get)
    case 3 where part(1, "models") && part(2, "stats"): return Match(route: .statistics, method: .get)
    case 3 where part(1, "repository") && part(2, "index"): return Match(route: .index, method: .post)
    case 5 where part(1, "repository") && part(2, "models") && part(4, "load"):
      return Match(route: .load, model: parts[3], method: .post)
    case 5 where part(1, "repository") && part(2, "models") && part(4, "unload"):
      return Match(route: .unload, model: parts[3], method: .post)
    default: break
    }
    guard part(1, "models"), parts.count >= 3, !parts[2].isEmpty else { return nil }
    var found = Match(route: .model(.metadata), model: parts[2], method: .get)
    var last = 3
    if part(3, "versions") {
      guard parts.count >= 5 else { return nil }
      found.version = parts[4]
      last = 5
    }
    guard parts.count > last else { return found }
    guard parts.count == last + 1 else { return nil }
    if part(last, "feedback"), found.version == nil {
      found.route = .feedback
      found.method = .post
    } else if part(last, "infer") {
      found.route = .infer
      found.method = .post
    } else if part(last, "jobs") {
      found.route = .submit
      found.method = .post
    } else if part(last, "ready") {
      found.route = .model(.ready)
    } else if part(last, "config") {
      found.route = .model(.configuration)
    } else if part(last, "stats") {
      found.route = .model(.statistics)
    } else {
      return nil
    }
    return found
  }

  /// Percent-decodes a segment.
  /// - Returns: bytes written; nil for a broken escape.
  private static func decode(_ segment: Slice<UnsafeRawBufferPointer>, to memory: UnsafeMutableRawPointer) -> Int? {
    var (at, written) = (segment.startIndex, 0)
    while at < segment.endIndex {
      var byte = segment[at]
      at += 1
      if byte == UInt8(ascii: "%") {
        guard at + 2 <= segment.endIndex, let high = Hexadecimal.digit(segment[at]),
          let low = Hexadecimal.digit(segment[at + 1])
        else { return nil }
        byte = UInt8(high * 16 + low)
        at += 2
      }
      memory.storeBytes(of: byte, toByteOffset: written, as: UInt8.self)
      written += 1
    }
    return written
  }
}
