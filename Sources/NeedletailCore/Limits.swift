/// Every bound of the product, with its reason. The bounds that a user may want to move are defaults of settings, named
/// `…Default`; the others are hard. A unit ends each name, unless it counts things.
public enum Limits {
  // MARK: wire

  /// Largest frame in bytes; default of `limits.frame_bytes_max`. 4,096 rows of 1,000 fp32 features fit.
  public static let frameBytesMaxDefault = 16 << 20
  /// Largest message of an error in bytes; a longer one is cut. No message of this server is near it.
  public static let errorMessageBytesMax = 64 << 10
  /// Upper bound of the setting for frames, in bytes: a length word above this comes of another protocol (`GET
  /// `, a TLS record).
  public static let frameBytesHardCap = 64 << 20
  /// Largest frame before authentication in bytes: nothing larger than a key is needed there.
  public static let frameBytesMaxUnauthenticated = 16 << 10
  /// Bytes that decoding may spend per byte of a frame, beside `arenaBytesBase`. Tensors and texts of honest
  /// requests need less than 4; input made to amplify needs up to 60.
  public static let arenaBytesPerFrameByte = 4
  /// Bytes that decoding may spend on the smallest frame.
  public static let arenaBytesBase = 64 << 10
  /// Time in seconds for a TLS handshake, and for authentication where it is required, before the connection is
  /// closed: as with stalled peers, it is gone within 10 s.
  public static let handshakeSecondsDefault = 9
  /// Wrong keys of one connection before it is closed.
  public static let authenticationFailuresMax = 5
  /// Wrong keys of one host, over all its connections, that are answered at once, and each have a line in the log: mistakes
  /// of people.
  public static let refusalsFree = 5
  /// Wait of the answer to the next wrong key of that host. It doubles with each one, and right keys never wait.
  public static let refusalDelayMillisecondsMin = 100
  /// Longest such wait, within the time in which a connection must authenticate.
  public static let refusalDelayMillisecondsMax = 5000
  /// Time in seconds without a wrong key after which a host begins anew.
  public static let refusalMemorySeconds = 60
  /// Time in seconds between two lines about one host beyond its first few refusals.
  public static let refusalLineSeconds = 10
  /// Lines in one second about refusals of all hosts together.
  public static let refusalLinesPerSecond = 20
  /// Hosts whose refusals are remembered, 100 bytes each; with one more, the one refused longest ago is forgotten.
  public static let refusalHostsMax = 1024
  /// Bytes of a key that are hashed; a longer key is hashed up to here. The keys of this product have 47 bytes.
  public static let apiKeyBytesMax = 256
  /// Calls of one connection that are accepted and not yet answered.
  public static let callsInFlightMaxDefault = 4096
  /// Bytes of answers that one connection's calls in flight are expected to have, and that wait for its peer: beyond
  /// it further calls of the connection wait unread. One answer of the largest size fits; a call alone may always run.
  public static let outputBytesMaxDefault = 64 << 20
  /// Bytes of answers that all connections together expect and have waiting: beyond it, calls with large answers are
  /// rejected before they run. Four of the largest fit.
  public static let outputBytesTotalMaxDefault = 256 << 20
  /// Largest answer in bytes that is written into a connection's output in one go, which takes some 25 µs. A larger one
  /// is computed by a worker and stays where it was computed until its peer has taken it, piece by piece.
  public static let contiguousAnswerBytesMax = 256 << 10
  /// Bytes of large answers that a loop encodes and hands to sockets in one turn, over all its connections: some 100 µs
  /// on loopback, for which other calls of the loop wait.
  public static let largeAnswerBytesPerTick = 256 << 10
  /// Bytes of one piece of a large answer: half of what a turn has, so that two connections have their share of each.
  public static let largeAnswerPieceBytes = 128 << 10
  /// Pause that a call is asked to make whose large answer finds no memory: in it, a peer on a fast network takes an
  /// answer of the largest size.
  public static let largeAnswerRetryMicroseconds: UInt32 = 100_000
  /// Open connections of the server; one more is told to come back later.
  public static let connectionsMaxDefault = 16_384
  /// Time between attempts to accept a connection while there are no descriptors: short enough for a backlog of
  /// hundreds to be taken within a second of descriptors being free again.
  public static let acceptPauseMilliseconds: Int64 = 100
  /// Time in which a server that stops still takes the connections that the kernel has accepted; a thousand take
  /// some ten milliseconds.
  public static let acceptDrainMilliseconds: Int64 = 250
  /// Time in seconds without a byte from a client, after which its connection is closed.
  public static let idleSecondsDefault = 300
  /// Time in seconds for the rest of a frame that has begun; then the peer has stalled. The sweep that follows
  /// sees it half a second later at most, which leaves another half second to a busy machine before 10 s.
  public static let frameSecondsDefault = 9
  /// Time in seconds in which a peer takes nothing of the answers that wait for it, or less than
  /// `answerBytesPerSecondMin`; then its connection is closed, as above.
  public static let stallSecondsDefault = 9
  /// Slowest rate in bytes per second at which a peer may take answers that wait for it, over any `stallSecondsDefault`:
  /// the same as for frames that arrive. At this rate an answer of the largest size takes 17 minutes.
  public static let answerBytesPerSecondMin = 64 << 10
  /// Time in seconds in which a peer must take something while all waiting answers are above their total.
  public static let stallSecondsWhileFull = 1
  /// Longest time between two checks of one connection's timeouts.
  public static let timeoutSweepNanosecondsMax: UInt64 = 500_000_000
  /// Connections whose timeouts are checked in one step: 40 µs where all of them have been silent, which is no more
  /// than a call waits for others anyway.
  public static let timeoutSweepSlotsMax = 128
  /// Slowest rate in bytes per second at which a frame may arrive after its `frameSeconds`; below it the peer
  /// trickles bytes to hold memory.
  public static let frameBytesPerSecondMin = 64 << 10
  /// Health, metrics, list and describe calls of one connection that may run at a time.
  public static let controlCallsInFlightMax = 16
  /// Pause that a rejected control call is asked to make.
  public static let controlRetryMicroseconds: UInt32 = 10_000
  /// Pause that a connection beyond the limit is asked to make.
  public static let connectionRetryMicroseconds: UInt32 = 1_000_000
  /// Time after GoAway for a client to close its connection by itself.
  public static let lingerMilliseconds = 1000
  /// Time in seconds that a connection to the admin port has for its TLS handshake together with its first request, for
  /// each further request, and for reading an answer, beside what `frameBytesPerSecondMin` allows its bytes: as with
  /// stalled peers of the call port, it is gone within 10 s.
  public static let adminRequestSeconds: Int64 = 9
  /// Time in seconds between two requests on a connection to the admin port: longer than Prometheus waits between two
  /// scrapes.
  public static let adminIdleSeconds: Int64 = 90
  /// Connections to the admin port; one more is closed, or the one that has been idle longest. A page or a scraper holds
  /// one, a browser six.
  public static let adminConnectionsMax = 256
  /// Bytes of a request's first line and headers to the admin port; cookies of other ports of the host
  /// come along.
  public static let adminHeaderBytesMax = 64 << 10
  /// Header fields of a request to the admin port.
  public static let adminHeadersMax = 128
  /// Bytes of a request's body to the admin port, which are skipped.
  public static let adminBodyBytesMax = 64 << 10
  /// Bytes of output memory that a quiet connection keeps.
  public static let idleOutputBytesMax = 16 << 10
  /// Bytes read from one connection before the others of its loop have their turn: 200 calls of 64 features.
  public static let receiveBytes = 64 << 10
  /// Bytes of small answers at which a connection hands them to the socket. While as many wait in the socket, no call of
  /// the connection is read: a peer that asks and does not read must not be let in for every packet that it takes.
  public static let outputBytesHighWater = 1 << 20
  /// Largest answer in bytes, the frame cap of clients. The setting for frames bounds requests only.
  public static let answerBytesMax = frameBytesHardCap
  /// Time in seconds from SIGTERM to exit; Kubernetes kills after 30.
  public static let stopSecondsDefault = 25
  /// Time in seconds from SIGTERM to GoAway, in which load balancers notice that the server is not ready.
  public static let graceSecondsDefault = 5

  // MARK: process

  /// Descriptors kept for what is no connection, beside three for each event loop: 21 stand open in a server at rest, and
  /// the store, keys and state open a few at a time.
  public static let descriptorsReserved = 40
  /// Least address space in bytes (`ulimit -v`) with which a server starts, beside the stacks of its threads: libraries,
  /// and the heaps that the allocator reserves for threads, before the first model.
  public static let addressSpaceBytesMin = 896 << 20
  /// Least stack in bytes (`ulimit -s`) of each thread: reading a deep YAML file takes the most.
  public static let stackBytesMin = 512 << 10
  /// Bytes of log lines that wait for a reader; further lines are counted and dropped. A thousand lines fit, more than a
  /// server writes in a busy minute.
  public static let logBytesMax = 256 << 10
  /// Time in milliseconds that a process which ends gives to the reader of its log.
  public static let logFlushMilliseconds = 500

  // MARK: queues

  /// Cost up to which a call is computed on its event loop; default of `serving.inline_microseconds`. Handing a
  /// call to another thread and back takes two wake-ups, some 20 to 50 µs on a quiet machine; below a few times
  /// that, the loop itself is quicker.
  public static let inlineNanosecondsMaxDefault: UInt64 = 150_000
  /// Longest that `serving.spin_microseconds` lets an idle loop look before it sleeps: a hundred times what waking takes.
  public static let spinMicrosecondsMax = 1000
  /// Pause between two looks of an idle loop from which on somebody else may have run. A look takes under 1 µs.
  public static let spinGapNanosecondsMax: UInt64 = 20_000
  /// Time for which a loop then waits as if not told to look: so it costs a busy processor a hundredth.
  public static let spinGivenUpNanoseconds: UInt64 = 5_000_000
  /// Longest time that a call should wait for the calls read before it; default of `serving.tick_microseconds`.
  public static let tickNanosecondsTargetDefault: UInt64 = 5_000_000
  /// Rough cost of a call beside its rows: reading, decoding, answering and sending it.
  public static let callNanoseconds: UInt64 = 2_000
  /// Cost above which work is not begun before answers that are ready are sent; a further write costs a tenth of
  /// it.
  public static let readyAnswersWaitNanoseconds: UInt64 = 300_000
  /// Versions that a loop compares with a new table in one tick: some 5 µs. A version that was retired stays in memory
  /// for as many ticks as it takes to come round to it, or until the loop's next timeout sweep.
  public static let batchesSweptPerTick = 64
  /// Longest read pause of a peer whose calls meet a queue that is nearly full. To read and reject one call by itself
  /// takes the kernel some 12 µs of processor time; calls that were read together take little more than one. The pause
  /// adds to the time that a rejection takes.
  public static let readPauseNanosecondsMax: UInt64 = 2_000_000
  /// Read pauses in a row at whose end there was nothing to read: after so many, the poller watches the peer again.
  public static let emptyReadsMax = 4
  /// Calls of one version and priority that wait for workers. The bound in time is far below it; this one bounds
  /// the memory reserved for the queue.
  public static let queuedCallsMax = 4096
  /// Interactive units that run for each bulk unit while calls of both priorities wait. Bulk calls get a ninth of a busy
  /// version's time, so that each ends in some multiple of its own time; interactive calls keep eight.
  public static let interactiveUnitsPerBulkUnit = 8
  /// Shortest target of the wait in a queue: below it no call is worth rejecting.
  public static let queueTargetNanosecondsMin: UInt64 = 1_000_000
  /// Shortest interval after which a queue above its target counts as overloaded; shorter bursts are let
  /// through.
  public static let queueIntervalNanosecondsMin: UInt64 = 5_000_000
  /// Longest such interval.
  public static let queueIntervalNanosecondsMax: UInt64 = 100_000_000
  /// Longest batch, unless more rows make it much cheaper: a batch is not interrupted, and calls that arrive
  /// meanwhile wait for all of it.
  public static let batchNanosecondsUseful: UInt64 = 5_000_000
  /// Longest batch while another model wants the workers too.
  public static let sharedBatchNanosecondsMax: UInt64 = 5_000_000
  /// Time since its last call in which a model counts as one that wants the workers.
  public static let laneActiveNanoseconds: UInt64 = 1_000_000_000
  /// Floats of rows and small answers of one loop's calls that are with the workers, 64 MiB; more are rejected. Large
  /// answers count as output.
  public static let queuedFloatsMax = 16 << 20
  /// Floats of that memory that a loop without such calls keeps for the next ones, 8 MiB.
  public static let queuedFloatsKept = 2 << 20
  /// Shortest pause that an overloaded server asks for.
  public static let overloadRetryMicrosecondsMin: UInt32 = 1000

  // MARK: YAML files

  /// Levels of a YAML file: the deepest file that has a meaning has five.
  public static let yamlDepthMax = 16
  /// Aliases of one YAML file. They double with every level that names the one below twice: 32 make at most
  /// 100,000 values.
  public static let yamlAliasesMax = 32

  // MARK: requests

  /// Bytes of a model's name: it is the name of a directory, which may have 255.
  public static let modelNameBytesMax = 128
  /// Bytes of a feature's name.
  public static let featureNameBytesMax = 256
  /// Rows of one request, and of one batch.
  public static let batchRowsMaxDefault = 4096
  /// Tensors of one request, which may be a wide table sent by columns.
  public static let inputTensorsMax = 16_384
  /// Dimensions of a tensor in a request; models of today use two.
  public static let tensorRankMax = 8
  /// Names of outputs in a request: a selection is a set of 64 bits.
  public static let outputNamesMax = 64
  /// Bytes of a routing key, such as a user's or an order's number.
  public static let routingKeyBytesMax = 256

  // MARK: keys

  /// Bytes of a key file, 200 for each of its keys.
  public static let keyFileBytesMax = 1 << 20
  /// Keys of a key file. A key shown is compared with every one of them, which takes some ten microseconds once
  /// a connection.
  public static let keysMax = 4096
  /// Bytes of a name in a certificate: a DNS name has 253, a SPIFFE URI at most 2048.
  public static let certificateNameBytesMax = 2048
  /// Calls per second of one key: above this, a call's share of a second is less than a nanosecond.
  public static let keyRateMax = 1_000_000_000
  /// Seconds whose allowance a key may use at once.
  public static let keyBurstSeconds = 1
  /// Time between two looks at certificates and keys for changes, five `stat`s each; default of
  /// `reload_milliseconds`.
  public static let reloadMillisecondsDefault = 1000

  // MARK: bundles

  /// Bytes of a bundle; default of `limits.bundle_bytes_max`.
  public static let bundleBytesMaxDefault = 1 << 30
  /// Bytes of a bundle's manifest: 64 sections take less than 10 KiB.
  public static let directoryBytesMax = 1 << 20
  /// Bytes reserved for the signatures of a bundle.
  public static let signaturesBytesMax = 64 << 10
  /// Sections of a bundle; the format knows ten types.
  public static let sectionsMax = 64
  /// Signatures of a bundle.
  public static let signaturesMax = 16
  /// Bytes of one section other than weights, after decompression.
  public static let metadataBytesMax = 64 << 20
  /// Bytes of all sections of a bundle together, after decompression.
  public static let bundleRawBytesMaxDefault = 4 << 30
  /// Golden samples of a bundle: each is computed at every load.
  public static let goldenSamplesMax = 4096
  /// Training metrics of a bundle.
  public static let trainingMetricsMax = 4096
  /// Labels of a model, one for each class.
  public static let labelsMax = 65_536
  /// Categories of one feature, and buckets that its texts are hashed into.
  public static let categoriesMax = 1 << 20
  public static let bucketsMax = 1 << 20

  // MARK: graphs

  /// Features of a model, and columns of a table.
  public static let featuresMax = 65_536
  /// Nodes of a graph.
  public static let graphNodesMax = 4096
  /// Values of a graph.
  public static let graphValuesMax = 8192
  /// Inputs, or outputs, of one node.
  public static let nodeValuesMax = 256
  /// Outputs of a graph: a selection is a set of 64 bits.
  public static let graphOutputsMax = 64
  /// Tensors of a graph.
  public static let graphTensorsMax = 8192
  /// Columns of one value: 65,536 classes, or that many one-hot indicators, times 16.
  public static let columnsMax = 1 << 20
  /// Columns that an int8 layer may sum before its accumulator could leave int32: (2³¹ − 1) / 127².
  public static let int8DepthMax = 133_144
  /// Trees of an ensemble: ten times what boosting with a small learning rate needs.
  public static let treesMax = 65_536
  /// Splits and leaves of an ensemble: 2,000 complete trees of depth 10 have 4.1 million. Layouts count on less than 2²⁴.
  public static let treeNodesMax = 1 << 22
  /// Splits from a root to a leaf. Forests that are grown until leaves are pure reach some 60; what is deeper than this
  /// is a list, not a tree, and would take a step for each entry.
  public static let treeDepthMax = 1024
  /// Bytes of a foreign model file: 2,000 trees of depth 10 take some 300 MiB as text.
  public static let foreignFileBytesMax = 1 << 30
  /// Rows of a CSV file that an imported model is checked with.
  public static let sampleRowsMax = 1_000_000
  /// Levels of lists and objects in a foreign model file; XGBoost's have nine.
  public static let foreignDepthMax = 64
  /// Bytes of scratch memory of one plan at its largest batch.
  public static let workspaceBytesMax = 1 << 30
  /// Bytes of packed weights and tables of one plan, twice the raw bytes of a whole bundle: many layers may name
  /// one tensor, and a layer of one column is packed as sixteen.
  public static let planBytesMax = 8 << 30

  // MARK: store

  /// Version files of one model directory that a scan looks at.
  public static let storeVersionsMax = 4096
  /// Model directories of one store that a scan looks at.
  public static let storeModelsMax = 4096
  /// Names read of one directory: a folder of millions of files must not stall the scan.
  public static let storeEntriesMax = 65_536
  /// Misplaced and misnamed files that are listed by name; more are only counted.
  public static let storeProblemsMax = 1024
  /// Bytes of the sentence that says why a bundle was refused; a longer one is cut. It stays in memory with the version's
  /// status. Two quoted names of 64 characters with field, expected and found take some 600 bytes.
  public static let rejectionMessageBytesMax = 4096
  /// Time without growth after which a file that is too short counts as abandoned.
  public static let incompleteStaleSeconds = 60
  /// First pause before a bundle is tried again that could not be read for want of memory or because of an I/O
  /// error. It doubles each time.
  public static let loadRetryMillisecondsMin = 1000
  /// Longest such pause.
  public static let loadRetryMillisecondsMax = 60_000
  /// Time between two scans of the store: events of inotify may get lost, scans find everything.
  public static let rescanMillisecondsDefault = 2000

  // MARK: events

  /// Events that the log keeps: about 250 swaps, at most 8 MiB.
  public static let eventsMax = 2048
  /// Bytes of one text of an event: a reason names a file of 255 bytes and two values.
  public static let eventTextBytesMax = 512
  /// Named values of one event.
  public static let eventFactsMax = 7

  // MARK: state and rollout

  /// Bytes of one file of the server's own state: every model of a full store with a long name and a few
  /// entries.
  public static let stateFileBytesMax = 8 << 20
  /// Copies of one state file that could not be read, kept for people to look at; older ones go.
  public static let stateCopiesMax = 4
  /// First pause before state that could not be written is tried again: a disk that is full now may have room in a moment.
  public static let stateRetryMillisecondsMin = 500
  /// Longest pause: an operator who made room should not wait long to see the alert end.
  public static let stateRetryMillisecondsMax = 15_000
  /// Bytes of one `rollout.yaml`, which has a few lines.
  public static let rolloutFileBytesMax = 64 << 10
  /// Versions that one list of a rollout names, labels of one model, and versions that served before: each may
  /// have to be in memory.
  public static let rolloutVersionsMax = 16
  /// Bytes of a label.
  public static let rolloutLabelBytesMax = 64
  /// Time over which a guard compares a new version with the old one, unless the rollout names another.
  public static let guardWindowMillisecondsDefault = 30_000
  /// Shortest such time: several readings of the counters.
  public static let guardWindowMillisecondsMin = 500
  /// Longest such time, an hour: the readings are kept in memory.
  public static let guardWindowMillisecondsMax = 3_600_000
  /// Requests below which a guard does not judge, because one slow request would be a rate.
  public static let guardMinRequestsDefault = 100
  /// Rows that a loop hands to a shadow at a time.
  public static let shadowRowsMax = 256
  /// Percent of one processor for all shadows together.
  public static let shadowProcessorPercent = 25
  /// Longest pause of shadows, above that after the largest batch of the largest plans.
  public static let shadowPauseMicrosecondsMax = 2_000_000
  /// Time since the last write to a temporary file that no process has locked, after which another writer
  /// removes it: far above what any writer pauses.
  public static let abandonedFileSeconds = 3600
  /// Time between two readings of the counters of guarded models: well within the shortest window.
  public static let guardIntervalMilliseconds = 100
  /// Digests of one model and key that rollback protection remembers at least: how far a way back is known after
  /// a restart.
  public static let acceptedDigestsMin = 16

  // MARK: traffic

  /// Time between two readings of the counters of live versions for people: short enough to watch a rollout.
  public static let trafficIntervalMilliseconds = 2000
  /// Readings that rates and quantiles are taken over, a minute.
  public static let trafficIntervalsMax = 30

  // MARK: training data

  /// Bytes of one record of a CSV file, so that a quote that never closes is found before memory is used up.
  public static let csvRecordBytesMax = 16 << 20
  /// Categories of one column that the trainer reads: a fourth of those that all features of a model may have.
  public static let trainingCategoriesMax = 1 << 18
  /// Columns of one least squares problem after one-hot encoding: its triangle, and the copy that is solved,
  /// then take 512 MB each, and solving them minutes.
  public static let leastSquaresColumnsMax = 8192
  /// Texts that mean a missing value in one model; each unknown text is looked up among them.
  public static let missingWordsMax = 256
  /// Rows that one training run reads from all files together: they are numbered in 32 bits.
  public static let trainingRowsMax = Int(Int32.max)
}
