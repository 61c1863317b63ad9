/// Bounds of live statistics.
extension Limits {
  /// Time in seconds that live statistics look back; default of `watch.window_seconds`. An hour of one row a second is
  /// enough to tell a moved column of ten bins from chance.
  public static let watchWindowSecondsDefault = 3600
  /// Longest such time, a week.
  public static let watchWindowSecondsMax = 604_800
  /// Columns of one version that are watched, which bounds the time that a row takes the background thread.
  public static let watchedColumnsMax = 1024
  /// Cells of all watched columns of one version: 13 counts of 8 bytes each, 7 MB at most.
  public static let watchedCellsMax = 65_536
  /// Columns, and classes, of one version that have series of their own in the metrics, six each: more would make a scrape
  /// of many models too long. The number of columns that have moved counts them all.
  public static let watchedSeriesColumnsMax = 100
  /// Classes of one version that have a series of their own that counts them; all others share one.
  public static let countedClassesMax = 100
  /// Rows that a loop hands to the background thread for statistics at a time.
  public static let watchRowsMax = 64
  /// Pause in microseconds between two batches of one loop and version that are counted: a loop copies at most twenty a
  /// second.
  public static let watchPauseMicroseconds = 50_000
  /// Time in microseconds for which the background thread rests after a round in which it dealt with a batch. A round
  /// looks at the mailboxes of all loops and versions.
  public static let backgroundRoundPauseMicroseconds = 5000
}
