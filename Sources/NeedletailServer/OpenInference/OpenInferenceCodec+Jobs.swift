internal import NIOCore
internal import NeedletailCore

/// Submissions of jobs, whose bodies are longer than those of calls and are taken over as they arrive.
extension OpenInferenceCodec {
  /// Asks about the head of a submission, before its body is there.
  /// - Returns: nil for any other request.
  func beginJob(_ head: HTTPHead) -> CodecEvent? {
    guard head.method == .post, Self.isJobPath(head.path) else { return nil }
    return withUnsafeTemporaryAllocation(byteCount: head.path.count, alignment: 1) { memory -> CodecEvent? in
      guard let start = memory.baseAddress, let matched = OpenInferenceRoute.match(head.path, memory: start),
        matched.route == .submit
      else { return nil }
      return beginJob(head, matched)
    }
  }

  private static func isJobPath(_ path: UnsafeRawBufferPointer) -> Bool {
    path.suffix(5).elementsEqual("/jobs".utf8) || path.suffix(6).elementsEqual("/jobs/".utf8)
  }

  private func beginJob(_ head: HTTPHead, _ matched: OpenInferenceRoute.Match) -> CodecEvent {
    closes = head.closes
    isHead = false
    isBeginningJob = true
    // A client that waits for leave may send its body or not, once it is refused: the connection ends.
    bytesOfRefused = head.isChunked || head.expectsContinue ? nil : head.bytes + head.bodyBytes
    do throws(ServingError) {
      let upload = try jobHead(head, matched)
      uploadHeadBytes = head.bytes
      uploadExpectsContinue = head.expectsContinue
      return .job(.begin(upload))
    } catch {
      return malformed(error)
    }
  }

  private func jobHead(_ head: HTTPHead, _ matched: OpenInferenceRoute.Match) throws(ServingError) -> JobHead {
    if head.isEncoded {
      errorStatus = 415
      throw .invalidArgument("Content-Encoding: expected identity, found a compressed body")
    }
    guard !head.isChunked else {
      errorStatus = 411
      throw .invalidArgument("Content-Length: expected the length of the job's request, found a body in chunks")
    }
    let selector = try Self.version(matched).map { ModelReference.Selector.version($0) } ?? .serving
    var key: String?
    if let text = head.idempotencyKey {
      guard (1...Limits.jobKeyBytesMax).contains(text.count) else {
        throw .invalidArgument(
          "Idempotency-Key: expected 1 to \(Limits.jobKeyBytesMax) bytes, found \(text.count)",
          .init(field: "Idempotency-Key"))
      }
      key = String(decoding: text, as: UTF8.self)
    }
    return JobHead(
      callID: nextID(), model: ModelReference(model: ModelReference.text(matched.model), selector: selector),
      bodyBytes: head.bodyBytes, jsonBytes: head.jsonBytes, key: key)
  }

  /// Takes the body of a job whose head was asked about, from now on.
  func begin(_ upload: JobUpload) {
    isBeginningJob = false
    self.upload = upload
  }

  /// Takes over what arrived of a body.
  func take(_ upload: JobUpload, _ input: inout ReceiveBuffer, _ output: inout ByteBuffer) -> CodecEvent {
    input.consume(uploadHeadBytes)
    uploadHeadBytes = 0
    if uploadExpectsContinue, input.unread.isEmpty { output.writeStaticString("HTTP/1.1 100 Continue\r\n\r\n") }
    uploadExpectsContinue = false
    input.consume(upload.append(input.unread))
    guard upload.isWhole else { return .wait }
    self.upload = nil
    isAnswering = true
    return .job(.submit(upload))
  }
}
