/// Every bound of the product, with its reason. Those a user may want to move are the defaults of a
/// setting; the others are hard.
public enum Limits {
  // MARK: wire

  /// Default of `limits.frame_bytes_max`: 4,096 rows of 1,000 fp32 features fit.
  public static let frameBytesMaxDefault = 16 << 20
  /// Of an error's sentence; a longer one is cut. None that this server makes is near it.
  public static let errorMessageBytesMax = 64 << 10
  /// No setting goes beyond: a length word above this is a wrong protocol (`GET `, a TLS record).
  public static let frameBytesHardCap = 64 << 20
  /// Before authentication nothing larger than a key needs to be said.
  public static let frameBytesMaxUnauthenticated = 16 << 10
  /// protobuf-c may spend this many bytes per frame byte, plus `arenaBytesBase`:
  /// unknown fields and empty sub-messages amplify 60-fold otherwise.
  public static let arenaBytesPerFrameByte = 4
  public static let arenaBytesBase = 64 << 10
  /// A connection that is not through its TLS handshake, or has not authenticated where it must, after
  /// so long is closed. Like those of stalled peers: gone within 10 s.
  public static let handshakeSecondsDefault = 9
  /// Wrong keys of one connection before it is closed.
  public static let authenticationFailuresMax = 5
  /// Longer ones are hashed as far as this only; the product's own have 47.
  public static let apiKeyBytesMax = 256
  /// Calls of one connection that are accepted and not yet answered.
  public static let callsInFlightMaxDefault = 4096
  /// Answers waiting for a peer that does not read, per connection, before its connection is closed.
  public static let outputBytesMaxDefault = 32 << 20
  /// The same of all connections together: a thousand slow readers must not take a thousand times as much.
  public static let outputBytesTotalMaxDefault = 256 << 20
  public static let connectionsMaxDefault = 16_384
  /// Between attempts to accept a connection while there are no descriptors: short enough for a backlog
  /// of hundreds to be taken within a second of descriptors being free again.
  public static let acceptPauseMilliseconds: Int64 = 100
  /// For taking those whom the kernel has accepted, before a server that stops closes its sockets; a
  /// thousand take some ten milliseconds.
  public static let acceptDrainMilliseconds: Int64 = 250
  /// A client that says nothing for so long is gone.
  public static let idleSecondsDefault = 300
  /// Half a frame and then silence for so long is a stalled peer. It is seen in the round that follows,
  /// half a second later at most: that leaves another half second to a busy machine before 10 s.
  public static let frameSecondsDefault = 9
  /// Answers wait and the peer reads none of them for so long: its connection is closed, as above.
  public static let stallSecondsDefault = 9
  /// Longest time between two checks of one connection's timeouts.
  public static let timeoutSweepNanosecondsMax: UInt64 = 500_000_000
  /// Connections whose timeouts are checked in one step: 40 µs where all of them have been silent, which is no more
  /// than a call waits for others anyway.
  public static let timeoutSweepSlotsMax = 128
  /// A frame that arrives slower than this, after its `frameSeconds`, is no frame: a client that trickles.
  public static let frameBytesPerSecondMin = 64 << 10
  /// Health, metrics, list and describe calls of one connection that may run at a time.
  public static let controlCallsInFlightMax = 16
  /// What a refused control call is told to wait.
  public static let controlRetryMicroseconds: UInt32 = 10_000
  /// What a connection that is one too many is told to wait.
  public static let connectionRetryMicroseconds: UInt32 = 1_000_000
  /// After GoAway, for a client to close by itself before its connection is closed.
  public static let lingerMilliseconds = 1000
  /// Time that a connection to the admin port has for its TLS handshake and each whole request, and for
  /// reading each answer: longer than Prometheus waits between two scrapes.
  public static let adminIdleSeconds: Int64 = 90
  /// Connections to the admin port; one more is closed. A page or a scraper holds one, a browser six.
  public static let adminConnectionsMax = 256
  /// Bytes of a request's first line and headers to the admin port; cookies of other ports of the host
  /// come along.
  public static let adminHeaderBytesMax = 64 << 10
  /// Header fields of a request to the admin port.
  public static let adminHeadersMax = 128
  /// Bytes of a request's body to the admin port, which are skipped.
  public static let adminBodyBytesMax = 64 << 10
  /// Output memory that a quiet connection keeps.
  public static let idleOutputBytesMax = 16 << 10
  /// Read from one connection before the others of its loop have their turn: 200 calls of 64 features.
  public static let receiveBytes = 64 << 10
  /// Answers of one connection are handed to the socket when so many bytes stand ready, and no call of
  /// it is read while as many wait in the socket: bounds what a small request with a large answer costs.
  public static let outputBytesHighWater = 1 << 20
  /// Bytes of one answer: a client's frame cap.
  public static let answerBytesMax = frameBytesHardCap
  /// From SIGTERM to exit; Kubernetes kills after 30.
  public static let stopSecondsDefault = 25
  /// From SIGTERM to GoAway: load balancers notice in this time that the server is not ready.
  public static let graceSecondsDefault = 5

  // MARK: queues

  /// Default of `serving.inline_microseconds`: handing a call to another thread and back costs two
  /// wake-ups, some 20 to 50 µs on a quiet machine; below a few times that, it is quicker done here.
  public static let inlineNanosecondsMaxDefault: UInt64 = 150_000
  /// Default of `serving.tick_microseconds`: what a call may wait for those read before it.
  public static let tickNanosecondsTargetDefault: UInt64 = 5_000_000
  /// What a call costs the loop beside its rows, roughly: to read, decode, answer and send it.
  public static let callNanoseconds: UInt64 = 2_000
  /// Answers that stand ready do not wait for work that takes longer; a further write costs a tenth of it.
  public static let readyAnswersWaitNanoseconds: UInt64 = 300_000
  /// Longest read pause of a peer whose calls meet a queue that is nearly full. To read and reject one call by itself
  /// takes the kernel some 12 µs of processor time; calls that were read together take little more than one. The pause
  /// adds to the time that a rejection takes.
  public static let readPauseNanosecondsMax: UInt64 = 2_000_000
  /// Read pauses in a row at whose end there was nothing to read: after so many, the poller watches the peer again.
  public static let emptyReadsMax = 4
  /// Calls of one version and priority that wait for workers. The bound in time is far below it; this one
  /// is that of the memory set aside.
  public static let queuedCallsMax = 4096
  /// A queue shorter than this in time is not worth refusing anybody for.
  public static let queueTargetNanosecondsMin: UInt64 = 1_000_000
  /// A burst may take so long, at least and at most, before it counts as overload.
  public static let queueIntervalNanosecondsMin: UInt64 = 5_000_000
  public static let queueIntervalNanosecondsMax: UInt64 = 100_000_000
  /// A batch is not interrupted, and what comes meanwhile waits for all of it: it takes no longer unless
  /// more rows make it much cheaper.
  public static let batchNanosecondsUseful: UInt64 = 5_000_000
  /// A batch is not interrupted: while another model wants the workers too, none takes longer.
  public static let sharedBatchNanosecondsMax: UInt64 = 5_000_000
  /// A model that had calls within this time counts as one that wants the workers.
  public static let laneActiveNanoseconds: UInt64 = 1_000_000_000
  /// Rows and answers of one loop's calls that are with the workers: 64 MiB. More is refused.
  public static let queuedFloatsMax = 16 << 20
  /// Of the same, what a loop without such calls keeps for the next ones: 8 MiB.
  public static let queuedFloatsKept = 2 << 20
  /// An overloaded server asks for no sooner retry.
  public static let overloadRetryMicrosecondsMin: UInt32 = 1000

  // MARK: YAML files

  /// Sections within sections: the deepest file that means anything has five.
  public static let yamlDepthMax = 16
  /// Of one file. They double with every level that names the one below twice: 32 make at most 100,000
  /// values.
  public static let yamlAliasesMax = 32

  // MARK: requests

  public static let modelNameBytesMax = 128
  public static let featureNameBytesMax = 256
  /// Rows of one request, and of one batch.
  public static let batchRowsMaxDefault = 4096
  /// Tensors of one request: a wide table sent by columns.
  public static let inputTensorsMax = 16_384
  public static let tensorRankMax = 8
  public static let outputNamesMax = 64
  public static let routingKeyBytesMax = 256

  // MARK: keys

  /// Of a key file, 200 bytes for each of its keys.
  public static let keyFileBytesMax = 1 << 20
  /// Every one is compared with, whichever was shown: some ten microseconds once a connection.
  public static let keysMax = 4096
  /// A DNS name has 253; a SPIFFE URI at most 2048.
  public static let certificateNameBytesMax = 2048
  /// Above this a second's share of one request is less than a nanosecond.
  public static let keyRateMax = 1_000_000_000
  /// What a key may use at once of what it may use in this time.
  public static let keyBurstSeconds = 1
  /// Default of `reload_milliseconds`: five `stat`s.
  public static let reloadMillisecondsDefault = 1000

  // MARK: bundles

  /// Default of `limits.bundle_bytes_max`.
  public static let bundleBytesMaxDefault = 1 << 30
  public static let directoryBytesMax = 1 << 20
  public static let signaturesBytesMax = 64 << 10
  public static let sectionsMax = 64
  public static let signaturesMax = 16
  /// Raw bytes of one section other than weights.
  public static let metadataBytesMax = 64 << 20
  /// Raw bytes of all sections together, whatever they claim.
  public static let bundleRawBytesMaxDefault = 4 << 30
  public static let goldenSamplesMax = 4096
  public static let trainingMetricsMax = 4096
  public static let labelsMax = 65_536
  public static let categoriesMax = 1 << 20

  // MARK: graphs

  public static let featuresMax = 65_536
  public static let graphNodesMax = 4096
  public static let graphValuesMax = 8192
  public static let graphOutputsMax = 64
  public static let graphTensorsMax = 8192
  /// Columns of one value: 65,536 classes, or that many one-hot indicators, times 16.
  public static let columnsMax = 1 << 20
  /// Columns that an int8 layer may sum before its accumulator could leave int32: (2³¹ − 1) / 127².
  public static let int8DepthMax = 133_144
  /// Scratch of one plan at its largest batch.
  public static let workspaceBytesMax = 1 << 30
  /// Packed weights and tables of one plan: twice the raw bytes of a whole bundle. Many layers may
  /// name one tensor, and a layer of one column is packed as sixteen.
  public static let planBytesMax = 8 << 30

  // MARK: store

  /// Version files of one model directory, and model directories of one store, that a scan looks at.
  public static let storeVersionsMax = 4096
  public static let storeModelsMax = 4096
  /// Names read of one directory: a folder of millions of files must not stall the scan.
  public static let storeEntriesMax = 65_536
  /// Misplaced and misnamed files that are named; more are only counted.
  public static let storeProblemsMax = 1024
  /// A file that is still too short and has not grown for so long was probably abandoned.
  public static let incompleteStaleSeconds = 60
  /// A bundle that could not be read for want of memory or because of an I/O error is tried again after
  /// so long, doubling each time.
  public static let loadRetryMillisecondsMin = 1000
  public static let loadRetryMillisecondsMax = 60_000
  /// inotify is a hint; this rescan is the truth.
  public static let rescanMillisecondsDefault = 2000

  // MARK: events

  /// Events that the log keeps: about 250 swaps, at most 8 MiB.
  public static let eventsMax = 2048
  /// Of one text of an event: a reason names a file of 255 bytes and two values.
  public static let eventTextBytesMax = 512
  /// Named values of one event.
  public static let eventFactsMax = 7
  // MARK: state and rollout

  /// One file of the server's own state: every model of a full store with a long name and a few entries.
  public static let stateFileBytesMax = 8 << 20
  /// One `rollout.yaml`: a few lines.
  public static let rolloutFileBytesMax = 64 << 10
  /// Versions that one list of a rollout names, labels of one model, and versions that served before:
  /// each may have to be in memory.
  public static let rolloutVersionsMax = 16
  public static let rolloutLabelBytesMax = 64
  public static let guardWindowMillisecondsDefault = 30_000
  public static let guardWindowMillisecondsMin = 500
  public static let guardWindowMillisecondsMax = 3_600_000
  /// Below, one slow request would be a rate.
  public static let guardMinRequestsDefault = 100
  /// Rows that a loop hands to a shadow at a time.
  public static let shadowRowsMax = 256
  /// Of one processor, for all shadows together.
  public static let shadowProcessorPercent = 25
  /// Above the pause after the largest batch of the largest plans; what waits for the thread meanwhile is
  /// the memory of a version that was let go.
  public static let shadowPauseMicrosecondsMax = 2_000_000
  /// Since the last byte was written to a temporary file that nobody holds a lock on, before another writer
  /// removes it: far above what any writer pauses.
  public static let abandonedFileSeconds = 3600
  /// How often the counters of guarded models are read: well within the shortest window.
  public static let guardIntervalMilliseconds = 100
  /// Digests of one model and key that rollback protection remembers at least: how far a way back is
  /// known after a restart.
  public static let acceptedDigestsMin = 16

  // MARK: traffic

  /// How often the counters of live versions are read for people: often enough to watch a rollout.
  public static let trafficIntervalMilliseconds = 2000
  /// Readings that rates and quantiles are taken over: a minute.
  public static let trafficIntervalsMax = 30

  // MARK: training data

  /// One record of a CSV file, so that a quote that never closes is found before memory is.
  public static let csvRecordBytesMax = 16 << 20
  /// Categories of one column that the trainer one-hot encodes; more is rather an identifier.
  public static let trainingCategoriesMax = 4096
  /// Columns of one least squares problem after one-hot encoding: its triangle, and the copy that is solved, then
  /// take 512 MB each, and solving them minutes.
  public static let leastSquaresColumnsMax = 8192
  /// Rows that one training run reads, all files together: they are numbered in 32 bits.
  public static let trainingRowsMax = Int(Int32.max)
}
