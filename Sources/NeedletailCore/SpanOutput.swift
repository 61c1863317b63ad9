/// An output of a plan whose numbers are places in a text of their row: entities, or an answer.
///
/// Callers get it as tensors of their own, each named and typed: what a place holds, not where the engine keeps it.
public struct SpanOutput: Equatable, Sendable, BitwiseCopyable {
  /// The way in which a row's places stand in its numbers.
  public enum Layout: Equatable, Sendable, BitwiseCopyable {
    /// For each of at most so many entities: kind, first byte, the byte behind the last, score. Kind −1: none.
    case entities(Int)
    /// First byte, the byte behind the last, and score.
    case answer
  }

  /// What a tensor shows of the places.
  public enum Part: Equatable, Sendable, BitwiseCopyable, CaseIterable {
    /// The engine's numbers, which an answer has only where they are asked for by name.
    case numbers
    case label, text, start, end, score
  }

  /// Index among the plan's outputs.
  public var output: Int
  /// Index of the text among the texts of a row.
  public var text: Int
  /// Texts of a row.
  public var textsPerRow: Int
  public var layout: Layout

  public init(output: Int, text: Int, textsPerRow: Int, layout: Layout) {
    self.output = output
    self.text = text
    self.textsPerRow = textsPerRow
    self.layout = layout
  }

  /// Numbers of one row.
  public var columns: Int {
    switch layout {
    case .entities(let most): 4 * most
    case .answer: 3
    }
  }

  /// Most places of one row.
  public var placesMax: Int {
    switch layout {
    case .entities(let most): most
    case .answer: 1
    }
  }

}

// MARK: - texts

extension SpanOutput {
  /// Bytes of the place of a text in a plan's scratch: a pointer, a length of four bytes, and four bytes more.
  public static let textItemBytes = 16

  /// Bytes before the place of the text of a row.
  private func offset(of row: Int) -> Int { (row * textsPerRow + text) * Self.textItemBytes }

  /// The text of a row.
  ///
  /// - Parameter texts: places of the rows' texts.
  @inline(__always)
  func text(_ row: Int, in texts: UnsafeRawPointer) -> UnsafeRawBufferPointer {
    let item = texts + offset(of: row)
    let start = item.loadUnaligned(as: UInt.self)
    let count = item.loadUnaligned(fromByteOffset: MemoryLayout<UInt>.size, as: UInt32.self)
    return UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: start), count: start == 0 ? 0 : Int(count))
  }

  /// Floats that take a copy of the places of rows' texts, and of the texts that the output's places are in.
  ///
  /// - Parameter textBytes: of these texts together, or more.
  public func textFloats(rows: Int, textBytes: Int) -> Int {
    (rows * textsPerRow * Self.textItemBytes + textBytes + 3) / MemoryLayout<Float>.size
  }

  /// The same for rows whose texts are there.
  public func textFloats(rows: Int, of texts: UnsafeRawPointer) -> Int {
    textFloats(rows: rows, textBytes: (0..<rows).reduce(0) { $0 + text($1, in: texts).count })
  }

  /// Copies the texts of rows behind those of earlier rows. Other texts of the rows are left out.
  ///
  /// - Parameters:
  ///   - texts: places of the texts, from the first row to copy on.
  ///   - target: memory of ``textFloats(rows:textBytes:)``.
  ///   - row: row in it that the first becomes; those before it were copied.
  ///   - rows: rows that it is for.
  public func copyTexts(
    from texts: UnsafeRawPointer, count: Int, to target: UnsafeMutableRawPointer, at row: Int, of rows: Int
  ) {
    var next = target + rows * textsPerRow * Self.textItemBytes
    if row > 0 {
      let last = text(row - 1, in: target)
      if let start = last.baseAddress { next = UnsafeMutableRawPointer(mutating: start) + last.count }
    }
    for index in 0..<count {
      let text = text(index, in: texts)
      if let start = text.baseAddress { next.copyMemory(from: start, byteCount: text.count) }
      let item = target + offset(of: row + index)
      item.storeBytes(of: UInt(bitPattern: next), as: UInt.self)
      item.storeBytes(of: UInt32(text.count), toByteOffset: MemoryLayout<UInt>.size, as: UInt32.self)
      next += text.count
    }
  }
}

/// A tensor that answers of a model have, or may have.
public struct AnswerTensor: Equatable, Sendable {
  public enum Content: Equatable, Sendable, BitwiseCopyable {
    /// An output as the plan has it.
    case output(OutputKind)
    /// A part of ``SpanOutput``.
    case part(SpanOutput.Part)
    /// An output that is computed, and shown by the parts of it.
    case source
  }

  /// All of it but its name.
  public struct Form: Equatable, Sendable, BitwiseCopyable {
    public var content: Content
    /// fp32 columns of the plan's output; one column is sent as `[rows]`.
    public var columns: Int
    /// Index of the plan's output whose numbers it is made of.
    public var source: Int
    /// Whether it shows several places of a row, `[rows, places]`: as many as the row with the most has.
    public var isList: Bool

    public init(content: Content, columns: Int, source: Int, isList: Bool = false) {
      self.content = content
      self.columns = columns
      self.source = source
      self.isList = isList
    }

    public var type: DataType {
      switch content {
      case .output(.number), .source, .part(.numbers), .part(.score): .float32
      case .output(.classIndex), .part(.start), .part(.end): .int64
      case .output(.classLabel), .part(.label), .part(.text): .string
      }
    }

    /// Whether its elements are strings.
    public var isText: Bool { type == .string }

    /// Whether it has the numbers of an output as they are.
    public var isNumbers: Bool {
      switch content {
      case .output(.number), .part(.numbers), .source: true
      case .output, .part: false
      }
    }

    /// Whether it is made of an output's places.
    public var isPart: Bool {
      if case .part = content { true } else { false }
    }

    /// Second dimension; nil: it has one.
    ///
    /// - Parameter places: of the answer that shows parts.
    public func width(_ places: SpanReader?) -> Int? {
      if isNumbers { return columns == 1 ? nil : columns }
      return isList ? places?.width : nil
    }

    /// Elements in an answer: a class is one, and so is a part of a place.
    public func elements(rows: Int, _ places: SpanReader?) -> Int {
      if isNumbers { return rows * columns }
      return isPart ? rows * (places?.width ?? 0) : rows
    }
  }

  public var name: String
  public var form: Form

  public init(name: String, form: Form) {
    self.name = name
    self.form = form
  }

  /// An output of a plan.
  public init(name: String, kind: OutputKind, columns: Int, source: Int) {
    self.init(name: name, form: Form(content: .output(kind), columns: columns, source: source))
  }

  /// The tensors of answers: those of the plan's outputs in their order, and behind them the parts of places.
  ///
  /// Parts are left out where the names of some are taken, or a selection, which has a bit for each tensor, would not hold
  /// them; the numbers are then an output like others.
  public static func all(of outputs: [AnswerTensor], _ spans: SpanOutput?) -> [AnswerTensor] {
    guard let spans else { return outputs }
    let (word, parts): (String, [SpanOutput.Part]) =
      switch spans.layout {
      case .entities: ("entity", SpanOutput.Part.allCases)
      case .answer: ("answer", SpanOutput.Part.allCases.filter { $0 != .label })
      }
    var tensors = outputs
    tensors[spans.output].form.content = .source
    for part in parts {
      let name = part == .numbers ? outputs[spans.output].name : "\(word)_\(part)"
      guard part == .numbers || !outputs.contains(where: { $0.name == name }) else { return outputs }
      let form = AnswerTensor.Form(
        content: .part(part), columns: spans.columns, source: spans.output,
        isList: part != .numbers && spans.layout != .answer)
      tensors.append(AnswerTensor(name: name, form: form))
    }
    return tensors.count <= Limits.outputNamesMax ? tensors : outputs
  }
}

extension [AnswerTensor] {
  /// Whether the answers show places in texts.
  public var hasParts: Bool { contains { $0.form.content == .source } }

  /// The bits of a tensor in a selection: its own, and that of the output which it is made of.
  public func bits(of index: Int) -> UInt64 { 1 << UInt64(index) | 1 << UInt64(self[index].form.source) }

  /// What a call gets that names no outputs: all but numbers that parts show.
  public var usualSelection: UInt64 {
    indices.reduce(0) { self[$1].form.content == .part(.numbers) ? $0 : $0 | bits(of: $1) }
  }
}
