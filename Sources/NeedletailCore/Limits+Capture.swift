extension Limits {
  /// Bytes of one captured call, request and answer: larger ones are counted as lost.
  public static let captureRecordBytesMax = 4 << 20
  /// Bytes of records after which a block is written. Blocks of a megabyte compress nearly as well as larger ones.
  public static let captureBlockBytes = 1 << 20
  /// Bytes of the records of one block: what a reader unpacks at a time. A block that is nearly full takes one more call,
  /// and with it the description of its model.
  public static let captureBlockBytesMax = captureBlockBytes + 2 * captureRecordBytesMax + 64
  /// Bytes of captured calls that one loop may have waiting for the capture thread: some milliseconds of all traffic.
  public static let captureRingBytes = 8 << 20
  /// Bytes of requests that one loop keeps from when they are read to when they are answered, in one tick.
  public static let captureStageBytes = 4 << 20
  /// Time in microseconds after which captured calls are in their file: what a kill can lose.
  public static let captureFlushMicroseconds = 500_000
  /// Time in microseconds between two looks of the capture thread while calls are captured.
  public static let capturePauseMicroseconds = 50_000
  /// Time in microseconds after which a full or failing disk is tried again.
  public static let captureRetryMicroseconds = 5_000_000
  /// Time in microseconds between two looks at the age and the bytes of all segments.
  public static let capturePruneMicroseconds = 60_000_000
  /// Bytes of a segment after which the next one begins.
  public static let captureSegmentBytesDefault = 64 << 20
  /// Time in seconds after which the next segment begins at the latest.
  public static let captureSegmentSecondsMax = 3600
  /// Bytes of all segments; the oldest ones go first.
  public static let captureBytesDefault = 1 << 30
  /// Time in seconds that a segment is kept, a week.
  public static let captureSecondsDefault = 604_800
  /// Bytes of a file of rules, which has some lines for each model.
  public static let captureRulesBytesMax = 1 << 20
  /// Bytes of the key that values are hashed with: 128 bits at least.
  public static let captureKeyBytes = 16...4096
}
