internal import CNeedletailProto
internal import NeedletailCore
internal import NeedletailEngine

/// Raw rows and what must come out of them.
enum GoldenSection {
  static func decode(_ bytes: UnsafeRawBufferPointer) throws(BundleError) -> [GoldenSample] {
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "golden samples", needletail__v1__golden_samples__init)
    defer { withExtendedLifetime(memory) {} }
    try Bounds.check(message.n_samples, 0...Limits.goldenSamplesMax, "golden samples")
    return try MessageValues.messages(message.samples, message.n_samples).map { sample throws(BundleError) in
      try self.sample(sample)
    }
  }

  private static func sample(_ message: Needletail__V1__GoldenSample) throws(BundleError) -> GoldenSample {
    let name = MessageValues.text(message.name)
    let field = "golden sample \(name.quotedForMessage)"
    try Bounds.check(message.n_cells, 0...Limits.featuresMax, "\(field): cells")
    try Bounds.check(message.n_expected, 0...Limits.graphOutputsMax, "\(field): outputs")
    let cells = try MessageValues.messages(message.cells, message.n_cells).map { cell throws(BundleError) -> Cell in
      switch cell.content_case {
      case NEEDLETAIL__V1__CELL__CONTENT_NUMBER: .number(cell.number)
      case NEEDLETAIL__V1__CELL__CONTENT_TEXT: .text(MessageValues.text(cell.text))
      case NEEDLETAIL__V1__CELL__CONTENT_MISSING where cell.missing != 0: .missing
      default: throw BundleError(.malformed, "\(field): cell: expected a number, a text or missing, found none")
      }
    }
    let answers = try MessageValues.messages(message.expected, message.n_expected).map {
      output throws(BundleError) -> (name: String, answer: GoldenSample.Answer) in
      let name = MessageValues.text(output.name)
      guard (output.n_numbers == 0) != (output.n_strings == 0) else {
        throw BundleError(
          .malformed,
          "\(field): output \(name.quotedForMessage): expected numbers or strings, found \(output.n_numbers) and \(output.n_strings)"
        )
      }
      return (
        name,
        output.n_numbers > 0
          ? .numbers(MessageValues.array(output.numbers, output.n_numbers))
          : .strings(MessageValues.texts(output.strings, output.n_strings))
      )
    }
    let status = try MessageValues.enumeration(message.status.rawValue, as: StatusCode.self, "\(field): status")
    guard (status == .ok) == !answers.isEmpty else {
      throw BundleError(
        .malformed, "\(field): expected outputs exactly when the status is OK, found \(answers.count) with \(status)")
    }
    return GoldenSample(
      name: name, cells: cells, expectation: status == .ok ? .answers(answers) : .refusal(status),
      tolerance: message.tolerance)
  }

  static func encode(_ samples: [GoldenSample]) -> [UInt8] {
    let memory = MessageBuilder()
    let messages = samples.map { message(of: $0, in: memory) }
    return memory.pack(
      memory.build(needletail__v1__golden_samples__init) {
        $0.n_samples = messages.count
        $0.samples = memory.array(messages)
      })
  }

  private static func message(
    of sample: GoldenSample, in memory: MessageBuilder
  ) -> UnsafeMutablePointer<Needletail__V1__GoldenSample>? {
    let cells = sample.cells.map { cell in
      memory.build(needletail__v1__cell__init) {
        switch cell {
        case .number(let number):
          $0.content_case = NEEDLETAIL__V1__CELL__CONTENT_NUMBER
          $0.number = number
        case .text(let text):
          $0.content_case = NEEDLETAIL__V1__CELL__CONTENT_TEXT
          $0.text = memory.text(text)
        case .missing:
          $0.content_case = NEEDLETAIL__V1__CELL__CONTENT_MISSING
          $0.missing = 1
        }
      }
    }
    return memory.build(needletail__v1__golden_sample__init) {
      $0.name = memory.text(sample.name)
      $0.n_cells = cells.count
      $0.cells = memory.array(cells)
      $0.tolerance = sample.tolerance
      switch sample.expectation {
      case .refusal(let status): $0.status = Needletail__V1__StatusCode(UInt32(status.rawValue))
      case .answers(let answers):
        let expected = answers.map { message(of: $0.answer, named: $0.name, in: memory) }
        $0.n_expected = expected.count
        $0.expected = memory.array(expected)
      }
    }
  }

  private static func message(
    of answer: GoldenSample.Answer, named name: String, in memory: MessageBuilder
  ) -> UnsafeMutablePointer<Needletail__V1__GoldenOutput>? {
    memory.build(needletail__v1__golden_output__init) {
      $0.name = memory.text(name)
      switch answer {
      case .numbers(let numbers):
        $0.n_numbers = numbers.count
        $0.numbers = memory.array(numbers)
      case .strings(let strings):
        $0.n_strings = strings.count
        $0.strings = memory.array(strings.map { memory.text($0) })
      }
    }
  }
}
