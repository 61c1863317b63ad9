internal import NeedletailCore
internal import NeedletailCrypto

/// Takes what must not be written out of the requests of one model.
///
/// Features are found by their normalised names, as models find them. A tensor that is no feature of the model, such as
/// one with a mistyped name, is left out: nobody can say what it holds.
public struct Redactor: Sendable {
  /// Digits of a hashed value: 128 bits.
  static let hashDigits = 32

  private let features: [String]
  private let names: Set<String>
  private let redactions: [String: Redaction]
  private let key: [UInt8]

  /// - Parameters:
  ///   - features: names of all features of the model, in order.
  ///   - key: secret of ``Redaction/hash``.
  public init(features: [String], redacted: [CapturedModel.Redacted], key: [UInt8]) {
    self.features = features.map { ValueText.normalised($0) }
    names = Set(self.features)
    redactions = Dictionary(redacted.map { (ValueText.normalised($0.feature), $0.redaction) }) { first, _ in first }
    self.key = key
  }

  /// Rewrites a request.
  ///
  /// - Parameters:
  ///   - request: as ``RequestRecord`` writes it.
  ///   - tensors: number of its tensors.
  /// - Returns: the tensors that are left, and their number.
  /// - Throws: `.damaged` for bytes that are no request, and for one whose hashes alone would take more bytes than any
  ///   record may have: then nothing was hashed.
  public func redact(
    _ request: UnsafeRawBufferPointer, tensors: Int
  ) throws(CaptureError) -> (request: [UInt8], tensors: Int) {
    var cursor = RecordCursor(request)
    var sent: [CapturedTensor] = []
    for _ in 0..<tensors { sent.append(try cursor.tensor()) }
    let hashBytes = sent.reduce(0) { $0 + hashCount($1) } * (4 + Self.hashDigits)
    guard hashBytes <= Limits.captureRecordBytesMax else {
      throw CaptureError(
        .damaged, "call: expected at most \(Limits.captureRecordBytesMax) bytes of hashes, found \(hashBytes)")
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(request.count)
    var count = 0
    for tensor in sent {
      guard let kept = redact(tensor) else { continue }
      bytes += kept.encoded
      count += 1
    }
    return (bytes, count)
  }

  /// - Returns: nil for a tensor that is left out.
  func redact(_ tensor: CapturedTensor) -> CapturedTensor? {
    let name = ValueText.normalised(String(decoding: tensor.name, as: UTF8.self))
    if names.contains(name) {
      switch redactions[name] {
      case nil: return tensor
      case .drop: return nil
      case .hash: return hashed(tensor)
      }
    }
    return name == "features" ? masked(tensor) : nil
  }

  /// Most hashes that ``redact(_:)`` makes of a tensor.
  private func hashCount(_ tensor: CapturedTensor) -> Int {
    guard let type = tensor.type else { return 0 }
    let name = ValueText.normalised(String(decoding: tensor.name, as: UTF8.self))
    if names.contains(name) {
      guard redactions[name] == .hash else { return 0 }
      return type == .string ? tensor.strings.count : (tensor.data.count + type.elementBytes - 1) / type.elementBytes
    }
    guard name == "features", type == .string, isMatrix(tensor) else { return 0 }
    return tensor.strings.count / features.count * features.count { redactions[$0] == .hash }
  }

  /// Whether a tensor is a matrix of all features, and has exactly the elements that its shape names. Nobody
  /// can say of any other one which value belongs to which feature.
  private func isMatrix(_ tensor: CapturedTensor) -> Bool {
    guard let type = tensor.type, tensor.shape.count == 2, tensor.shape[1] == UInt64(features.count) else {
      return false
    }
    let (elements, isWide) = tensor.shape[0].multipliedReportingOverflow(by: tensor.shape[1])
    let elementBytes = type == .string ? 0 : UInt64(type.elementBytes)
    let (bytes, isLong) = elements.multipliedReportingOverflow(by: elementBytes)
    guard !isWide, !isLong else { return false }
    return UInt64(tensor.data.count) == bytes && UInt64(tensor.strings.count) == (type == .string ? elements : 0)
  }

  private func hash(_ value: [UInt8]) -> [UInt8] {
    Array(Hex.text(HMACSHA256.code(of: value, key: key)).utf8.prefix(Self.hashDigits))
  }

  /// Each value by the hash of its bytes as sent. A missing text, which is empty, stays so.
  private func hashed(_ tensor: CapturedTensor) -> CapturedTensor? {
    guard let type = tensor.type else { return nil }
    var hashed = tensor
    hashed.type = .string
    hashed.data = []
    if type == .string {
      hashed.strings = tensor.strings.map { $0.isEmpty ? [] : hash($0) }
    } else {
      hashed.strings = stride(from: 0, to: tensor.data.count, by: type.elementBytes).map { start in
        hash(Array(tensor.data[start..<min(start + type.elementBytes, tensor.data.count)]))
      }
    }
    return hashed
  }

  /// A matrix of all features without the columns that are redacted: NaN, zero in a matrix of integers, or an empty text
  /// or hash in one of texts. A matrix of another shape than the model's, or whose elements do not fit its shape, is
  /// left out.
  private func masked(_ tensor: CapturedTensor) -> CapturedTensor? {
    guard let type = tensor.type, isMatrix(tensor) else { return nil }
    var masked = tensor
    let columns = features.count
    let elements = type == .string ? tensor.strings.count : tensor.data.count / type.elementBytes
    for (column, feature) in features.enumerated() {
      guard let redaction = redactions[feature] else { continue }
      for element in stride(from: column, to: elements, by: columns) {
        guard type != .string else {
          let value = tensor.strings[element]
          masked.strings[element] = redaction == .drop || value.isEmpty ? [] : hash(value)
          continue
        }
        for byte in 0..<type.elementBytes { masked.data[element * type.elementBytes + byte] = 0 }
        // The quiet NaN of each width, whose last bytes are its first in order of value.
        let end = (element + 1) * type.elementBytes
        switch type {
        case .float32: masked.data.replaceSubrange(end - 2..<end, with: [0xC0, 0x7F])
        case .float64: masked.data.replaceSubrange(end - 2..<end, with: [0xF8, 0x7F])
        default: break
        }
      }
    }
    return masked
  }
}
