/// Bounds of texts.
extension Limits {
  /// Features of one model that are free text: each may bring a text of the largest size into a run.
  public static let textFeaturesMax = 64
  /// Bytes of one text of a call; default of `limits.text_bytes_max`. A page of print has some 3,000.
  public static let textBytesMaxDefault = 64 << 10
  /// Bytes that the texts of one run may have together, where the largest texts of one row need no more: 256 rows of 1,024.
  public static let runTextBytesMin = 256 << 10

  /// Rows of a table of vectors: as many as a vocabulary has tokens at most.
  public static let embeddingRowsMax = 1 << 21
  /// Tokens of one row. Published encoders take 512, some 8,192; attention takes time with the square of them.
  public static let rowTokensMax = 8192
  /// Entities that an answer has for one row; a sentence has a few.
  public static let rowEntitiesMax = 1024
  /// Tokens of one run of a model that reads text, unless one row may have more. With so many, layers multiply as fast as
  /// they can; scratch has 10 to 20 KB for each.
  public static let runTokensMin = 1024

  // MARK: Hugging Face folders

  /// Bytes of a foreign `tokenizer.json` or `vocab.txt`, and of other files beside them that are no weights. XLM-RoBERTa's
  /// 250,002 tokens take 17 MB.
  public static let tokenizerFileBytesMax = 64 << 20
  /// Bytes of the header of a safetensors file, as its own library bounds it.
  public static let tensorHeaderBytesMax = 100_000_000
  /// Tensors of one foreign file: a transformer of 48 layers has 800.
  public static let foreignTensorsMax = 65_536
  /// Files that the tensors of one foreign model lie in: with 5 GB each, more than a terabyte.
  public static let foreignTensorFilesMax = 256
  /// Dimensions of a foreign tensor, most of which are not read.
  public static let foreignTensorRankMax = 16
}
