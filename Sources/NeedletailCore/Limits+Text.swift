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
}
