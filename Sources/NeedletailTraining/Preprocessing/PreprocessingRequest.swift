public import NeedletailEngine

/// Treatment of the columns that a model family asks for before it learns from them. It becomes part of the graph.
public struct PreprocessingRequest: Equatable, Sendable {
  /// Treatment of numbers.
  public enum Numbers: Sendable {
    /// Brought to a common scale, as `preprocessing.scale` says; standardised by default.
    case scaled
    /// Left as they are.
    case unscaled
  }

  /// Treatment of categories.
  public enum Categories: Sendable {
    /// One column of 0 and 1 a category.
    case oneHot
    /// One column that holds the category's code.
    case codes
  }

  /// Treatment of missing values where the run file does not say how to fill them in.
  public enum Missing: Sendable {
    /// Rows with them are refused, in training and in serving.
    case refused
    /// The family gets them as NaN, and its nodes cope with NaN.
    case kept
  }

  /// Treatment of texts.
  public enum Texts: Sendable {
    /// Terms, a column each.
    case terms
    /// Left to the family, which reads them by a tokenizer of its own.
    case whole
  }

  public var numbers: Numbers
  public var categories: Categories
  public var missing: Missing
  /// Element type in which the preprocessed row reaches the family's nodes. An ``Input`` of ``Matrix`` takes f32.
  public var element: ValueType.Element

  public var texts: Texts

  public init(
    numbers: Numbers, categories: Categories, missing: Missing, element: ValueType.Element, texts: Texts = .terms
  ) {
    self.texts = texts
    self.numbers = numbers
    self.categories = categories
    self.missing = missing
    self.element = element
  }

  /// Request of models that add columns up: linear models and networks.
  public static let dense = PreprocessingRequest(
    numbers: .scaled, categories: .oneHot, missing: .refused, element: .float32)
  /// Request of models that read nothing but texts, as they are.
  public static let texts = PreprocessingRequest(
    numbers: .scaled, categories: .oneHot, missing: .refused, element: .float32, texts: .whole)
  /// Request of models that look at one column at a time, such as trees. Their thresholds stay exact in f64.
  public static let columns = PreprocessingRequest(
    numbers: .unscaled, categories: .codes, missing: .kept, element: .float64)
}
