internal import Glibc
internal import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailSystem

/// Place where a training keeps its state, so that it can go on after it was stopped. Only the thread that trains may use
/// it.
///
/// The file holds the state of the family behind what it was made for: data, and settings that decide what is learned. A
/// training goes on only where both are the same, and then ends in the same model, bit for bit, as one that never stopped.
public final class Checkpoints {
  public static let fileName = "checkpoint.ntc"

  private let path: String
  /// Settings by their path, and the hash of the data under a key of its own.
  private let purpose: [String: String]
  private let isAsked: () -> Bool
  private let saveMicroseconds: UInt32
  private var lastSaved = Instant.now()
  /// Time that the last save took.
  private var savingMicroseconds: UInt32 = 0
  /// State to go on from; nil: from the beginning.
  let resumed: [UInt8]?
  /// True once the file is there.
  public private(set) var isSaved = false

  private static let magic = Array("NTCHECK1".utf8)
  private static let dataKey = "data"
  /// Sections of the run file that decide what is learned.
  private static let sections = ["data", "features", "target", "split", "preprocessing", "model", "training"]

  /// - Parameters:
  ///   - path: file of the checkpoint.
  ///   - isResuming: true goes on from the file.
  ///   - saveSeconds: time between two saves while the training runs.
  ///   - isStopping: whether the user asks the training to stop.
  /// - Throws: `TrainingError` where the file is absent, damaged, or made for something else.
  init(
    path: String, settings document: Document, dataSHA256: String, isResuming: Bool, saveSeconds: Int,
    isStopping: @escaping () -> Bool
  ) throws(TrainingError) {
    self.path = path
    isAsked = isStopping
    saveMicroseconds = UInt32(clamping: saveSeconds * 1_000_000)
    var purpose = [Self.dataKey: dataSHA256]
    for section in Self.sections {
      for (key, value) in RunRecorder.parameters(document[section], path: section) { purpose[key] = value }
    }
    // They change nothing of what is learned.
    for key in ["training.threads", "training.checkpoint_seconds"] { purpose[key] = nil }
    self.purpose = purpose
    resumed = isResuming ? try Self.read(path, purpose) : nil
  }

  /// Whether the training should end after saving its state.
  var isStopping: Bool { isAsked() }

  /// Share of the time that saving may take: the trees of a deep forest grow to gigabytes.
  private static let savingShareMax = 0.05

  /// Whether it is time to save, or the training is to stop.
  var isDue: Bool {
    let least = max(Double(saveMicroseconds), Double(savingMicroseconds) / Self.savingShareMax)
    return isStopping || Double(Instant.now().microseconds(since: lastSaved)) >= least
  }

  /// Writes a state, whole or not at all.
  func save(_ makeState: @autoclosure () -> [UInt8]) throws(TrainingError) {
    let began = Instant.now()
    let state = makeState()
    var bytes = ByteWriter()
    bytes.add(bytes: Self.magic)
    bytes.add(UInt64(purpose.count))
    for (key, value) in purpose.sorted(by: { $0.key < $1.key }) {
      bytes.add(text: key)
      bytes.add(text: value)
    }
    bytes.add(UInt64(state.count))
    bytes.add(bytes: state)
    bytes.add(bytes: Self.digest(bytes.bytes[...]))
    do throws(SystemError) {
      try AtomicFile.write(bytes.bytes, to: path, existing: .replaced)
    } catch {
      throw .output("\(path): expected to write the checkpoint, found: \(error)")
    }
    lastSaved = .now()
    savingMicroseconds = lastSaved.microseconds(since: began)
    isSaved = true
  }

  /// Removes the file of a training that has ended.
  public func remove() { unlink(path) }

  private static func digest(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    var hash = SHA256()
    bytes.withUnsafeBytes { hash.update($0) }
    return Array(hash.finalize())
  }

  private static func read(_ path: String, _ purpose: [String: String]) throws(TrainingError) -> [UInt8] {
    let file: [UInt8]
    do throws(SystemError) {
      file = try FileDescriptor(opening: path, 0).readToEnd()
    } catch {
      throw .output("\(path): expected the checkpoint of a training that was stopped, found: \(error.reason)")
    }
    let damaged = TrainingError.output("\(path): expected a whole checkpoint of this trainer, found a damaged one")
    guard file.count > magic.count + 32, file.starts(with: magic),
      digest(file.dropLast(32)) == Array(file.suffix(32))
    else { throw damaged }
    var reader = ByteReader(file.dropLast(32).dropFirst(magic.count))
    var found: [String: String] = [:]
    guard let count = reader.number(), count <= 100_000 else { throw damaged }
    for _ in 0..<count {
      guard let key = reader.text(), let value = reader.text() else { throw damaged }
      found[key] = value
    }
    guard let state = reader.counted(), reader.isAtEnd else { throw damaged }
    let differing = Set(found.keys).union(purpose.keys).filter { found[$0] != purpose[$0] }.sorted()
    guard let first = differing.first else { return state }
    if differing.contains(dataKey) {
      throw .output("\(path): expected the data that the checkpoint was made with, found other data")
    }
    throw .output(
      "\(path): expected \(first): \(found[first] ?? "nothing"), as the checkpoint was made with, found "
        + "\(purpose[first] ?? "nothing")"
        + (differing.count > 1 ? "; \(differing.count - 1) more settings differ" : ""))
  }
}

/// Bytes of a checkpoint in little-endian order, counts before what they count.
struct ByteWriter {
  private(set) var bytes: [UInt8] = []

  mutating func add(_ number: UInt64) { withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) } }
  mutating func add(_ number: Double) { add(number.bitPattern) }
  mutating func add(bytes more: [UInt8]) { bytes.append(contentsOf: more) }

  mutating func add(text: String) {
    add(UInt64(text.utf8.count))
    bytes.append(contentsOf: text.utf8)
  }

  /// - Parameter first: how many numbers; nil: all.
  mutating func add(_ buffer: FloatBuffer, first: Int? = nil) {
    let count = first ?? buffer.count
    add(UInt64(count))
    bytes.reserveCapacity(bytes.count + 4 * count)
    for index in 0..<count {
      withUnsafeBytes(of: buffer.start[index].bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
    }
  }
}

/// Reads what ``ByteWriter`` wrote. Every read is nil behind the end.
struct ByteReader {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  var isAtEnd: Bool { rest.isEmpty }

  private mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
    guard count >= 0, count <= rest.count else { return nil }
    defer { rest = rest.dropFirst(count) }
    return rest.prefix(count)
  }

  mutating func number() -> UInt64? {
    take(8)?.reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// A number that counts something, and so fits.
  mutating func count() -> Int? { number().flatMap { Int(exactly: $0) } }

  mutating func double() -> Double? { number().map { Double(bitPattern: $0) } }

  mutating func counted() -> [UInt8]? { count().flatMap { take($0) }.map { Array($0) } }

  mutating func text() -> String? { counted().flatMap { String(validating: $0, as: UTF8.self) } }

  /// Bytes without a count before them.
  mutating func bytes(_ count: Int) -> [UInt8]? { take(count).map { Array($0) } }

  /// Fills the beginning of a buffer.
  ///
  /// - Parameter first: how many numbers, which must be as many as were written; nil: all.
  mutating func fill(_ buffer: FloatBuffer, first: Int? = nil) -> Bool {
    let wanted = first ?? buffer.count
    guard count() == wanted, let bytes = take(wanted * 4) else { return false }
    var index = bytes.startIndex
    for place in 0..<wanted {
      let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[index + $1]) << UInt32(8 * $1) }
      buffer.start[place] = Float(bitPattern: bits)
      index += 4
    }
    return true
  }
}

extension ByteWriter {
  /// Reports of the epochs so far; see ``ByteReader/reports(epochs:metricName:)``.
  mutating func add(_ reports: [EpochReport]) {
    add(UInt64(reports.count))
    for report in reports {
      for number in [
        report.loss, report.validationLoss ?? .nan, report.validationMetric ?? .nan, Double(report.bestEpoch),
        report.bestMetric ?? .nan,
      ] { add(number) }
    }
  }
}

extension ByteReader {
  /// An order of rows, each of which stands in it once.
  mutating func order(count: Int) -> [Int]? {
    var isSeen = [Bool](repeating: false, count: count)
    var order: [Int] = []
    order.reserveCapacity(count)
    for _ in 0..<count {
      guard let row = self.count(), isSeen.indices.contains(row), !isSeen[row] else { return nil }
      isSeen[row] = true
      order.append(row)
    }
    return order
  }

  /// Reports of epochs, at most as many as the training has.
  mutating func reports(epochs: Int, metricName: String) -> [EpochReport]? {
    guard let count = self.count(), count <= epochs else { return nil }
    func optional(_ number: Double) -> Double? { number.isNaN ? nil : number }
    var reports: [EpochReport] = []
    while reports.count < count {
      let numbers = (0..<5).compactMap { _ in double() }
      guard numbers.count == 5, let bestEpoch = Int(exactly: numbers[3]) else { return nil }
      reports.append(
        EpochReport(
          epoch: reports.count + 1, epochCount: epochs, loss: numbers[0], validationLoss: optional(numbers[1]),
          validationMetric: optional(numbers[2]), metricName: metricName, bestEpoch: bestEpoch,
          bestMetric: optional(numbers[4])))
    }
    return reports
  }
}
