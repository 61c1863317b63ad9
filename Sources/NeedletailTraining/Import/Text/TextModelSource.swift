internal import NeedletailEngine

/// A folder of a model that reads text, of which the import makes a bundle.
protocol TextModelSource {
  var tokenizer: Tokenizer { get }
  /// What the model is, for people and for the lineage.
  var words: String { get }
  /// Its sizes, for people.
  var parameterWords: String { get }
  /// Its sizes, for other programs.
  var sizes: [Document.Entry] { get }
  /// Sentences about decisions that the user may want to know.
  var notes: [String] { get }

  /// Schema, graph and labels in fp32.
  ///
  /// - Throws: `TrainingError` that names a tensor or a field which does not fit.
  func definition(_ settings: EncoderImportSettings) throws(TrainingError) -> ModelDefinition
}
