internal import NeedletailCore

/// Why one raw value cannot be bound.
enum CellFault: Error {
  case missing
  case infinite
  /// Finite, but beyond fp32.
  case tooLarge
  case notANumber
  case notABool
  case invalidUTF8
  case unknownCategory
}

/// One feature as the binder reads it: what a raw value becomes. Borrowed from the binder that
/// built it.
struct FeatureColumn: BitwiseCopyable {
  let isCategorical: Bool
  let acceptsMissing: Bool
  /// What an unseen category becomes; NaN refuses it.
  private let unknownCode: Float
  /// Empty for numeric features.
  let categories: ByteTable

  init(_ feature: Feature) {
    acceptsMissing = feature.missing == .impute
    switch feature.kind {
    case .numeric:
      (isCategorical, unknownCode, categories) = (false, .nan, ByteTable())
    case .categorical(let categories, let unknown):
      (isCategorical, self.categories) = (true, ByteTable(categories))
      unknownCode =
        switch unknown {
        case .refuse: .nan
        case .zeros: -1
        case .other: Float(categories.count)
        }
    }
  }

  /// A number: itself, or for a categorical feature the code of a category. NaN is missing.
  ///
  /// `Number` is the element type of the bound row. A row of f64 keeps more digits, not a wider range: the layers
  /// behind it compute in fp32, where a larger number would be an infinity.
  @inline(__always)
  func bind<Number: BinaryFloatingPoint>(number: Double) -> Result<Number, CellFault> {
    guard Float(number).isFinite else {
      if number.isNaN { return missing() }
      return .failure(number.isInfinite ? .infinite : .tooLarge)
    }
    let value = Number(number)
    guard isCategorical else { return .success(value) }
    guard number >= 0, number < Double(categories.count), number == number.rounded(.towardZero) else {
      return unknown()
    }
    return .success(value)
  }

  /// Text: a category, or for a numeric feature a decimal number. Empty is missing.
  func bind<Number: BinaryFloatingPoint>(text: UnsafeRawBufferPointer) -> Result<Number, CellFault> {
    if text.isEmpty { return missing() }
    guard isCategorical else {
      guard let number = NumberText.parse(text) else { return .failure(.notANumber) }
      return number.isInfinite ? .failure(.tooLarge) : bind(number: number)
    }
    if let code = categories.index(of: text) { return .success(Number(code)) }
    // Categories are valid UTF-8, so only what matches none needs the check.
    guard String(validating: text, as: UTF8.self) != nil else { return .failure(.invalidUTF8) }
    return unknown()
  }

  func missing<Number: BinaryFloatingPoint>() -> Result<Number, CellFault> {
    acceptsMissing ? .success(.nan) : .failure(.missing)
  }

  private func unknown<Number: BinaryFloatingPoint>() -> Result<Number, CellFault> {
    unknownCode.isNaN ? .failure(.unknownCategory) : .success(Number(unknownCode))
  }
}
