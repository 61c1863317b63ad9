package import NeedletailBundle
internal import NeedletailCore
package import NeedletailEngine
internal import NeedletailSystem
internal import Glibc

/// Amount of memory that loading may still take: the least of what the operator, the control group and the machine leave.
/// The loader asks before it allocates, because the kernel's out-of-memory killer would end the serving versions too.
package struct MemoryBudget: Sendable {
  /// Bytes that are left, and which limit says so.
  package struct Room: Equatable, Sendable {
    package var bytes: UInt64
    package var bound: String
  }

  /// Bytes that the process may have in all; nil: as many as the machine and the control group give.
  package let bytesMax: UInt64?
  /// Paths of `/proc` and `/sys/fs/cgroup`; a test has its own.
  private let proc: String
  private let controlGroups: String

  package init(bytesMax: UInt64?, proc: String = "/proc", controlGroups: String = "/sys/fs/cgroup") {
    self.bytesMax = bytesMax
    self.proc = proc
    self.controlGroups = controlGroups
  }

  /// - Returns: nil if the system gives no figures and nobody set a limit.
  package func room() -> Room? {
    var rooms: [Room] = []
    if let bytesMax, let resident = residentBytes() {
      rooms.append(
        Room(bytes: bytesMax.minus(resident), bound: "memory_max \(bytesMax), of which \(resident) are used"))
    }
    for group in ControlGroup.all(proc: proc, root: controlGroups) {
      guard let limit = group.limit, let used = group.used else { continue }
      rooms.append(Room(bytes: limit.minus(used), bound: "control group's limit \(limit), of which \(used) are used"))
    }
    if let available = availableBytes() {
      rooms.append(Room(bytes: available, bound: "memory available on this machine"))
    }
    return rooms.min { $0.bytes < $1.bytes }
  }

  /// - Parameter what: what the memory is for.
  /// - Returns: nil if that many bytes are free.
  package func refusal(of bytes: UInt64, for what: String) -> Rejection? {
    guard let room = room(), bytes > room.bytes else { return nil }
    return Rejection(
      label: Rejection.memoryLabel,
      message: "memory: expected room for \(bytes) bytes for \(what), found \(room.bytes) (\(room.bound))",
      isTransient: true)
  }

  private func residentBytes() -> UInt64? {
    guard let fields = KernelText.line(proc + "/self/statm")?.split(separator: " "), fields.count > 1,
      let pages = UInt64(fields[1])
    else { return nil }
    return pages &* UInt64(sysconf(Int32(_SC_PAGESIZE)))
  }

  private func availableBytes() -> UInt64? {
    KernelText.number(proc + "/meminfo", after: "MemAvailable:").map { $0 &* 1024 }
  }
}

/// Upper bounds of the memory that loading a bundle takes, from sizes that are known before it is decoded.
package enum LoadCost {
  /// Size of the protobuf and Swift values that one byte of a message becomes. A small number of one byte, such as a
  /// selected column, takes four in the unpacked message and eight in the array of its operation; with the byte itself
  /// that is 13, and allocators round up.
  private static let bytesPerMetadataByte: UInt64 = 16
  /// Widest panel that kernels pack columns into: a layer of one column becomes one of 64.
  private static let panelColumns: UInt64 = 64

  /// Everything but the file's own bytes: decompressed sections and tensors. The plan comes when the file and the
  /// sections are gone.
  package static func decoding(_ manifest: BundleManifest) -> UInt64 {
    manifest.sections.reduce(0) { sum, section in
      let raw = UInt64(section.rawBytes)
      let (bytes, overflow) = raw.multipliedReportingOverflow(by: section.type == .weights ? 2 : bytesPerMetadataByte)
      return overflow ? .max : sum.plus(bytes)
    }
  }

  /// The packed weights and the tables of a graph, and what making them takes: layers may name one tensor many times, and
  /// are padded; trees are packed in several layouts, of which one stays.
  ///
  /// - Parameter dequantised: int8 weights become fp32: decoded, and packed.
  package static func packing(_ graph: ModelGraph, dequantised: Bool = false) -> UInt64 {
    let lowering = graph.nodes.indices.map { graph.nodes[$0].operation.loweringBytes(graph.context(of: $0)) }.max()
    return graph.nodes.indices.reduce(UInt64(clamping: lowering ?? 0)) { sum, index in
      let (operation, context) = (graph.nodes[index].operation, graph.context(of: index))
      guard let product = operation.product(context) else {
        return sum.plus(UInt64(clamping: operation.packedBytes(context)))
      }
      let columns = UInt64(clamping: product.columns)
      let padded = (columns.plus(panelColumns - 1)) / panelColumns &* panelColumns
      let elementBytes: UInt64 = product.isInt8 ? (dequantised ? 8 : 1) : 4
      let (elements, overflow) = padded.multipliedReportingOverflow(by: UInt64(clamping: product.depth))
      let (bytes, tooMany) = elements.multipliedReportingOverflow(by: elementBytes)
      // Scales, row sums and bias take some words per column.
      return overflow || tooMany ? .max : sum.plus(bytes).plus(padded &* 16)
    }
  }
}

/// Memory of one level of the control groups that this process is in.
struct ControlGroup: Sendable {
  let limit: UInt64?
  let used: UInt64?

  /// Names of the files of one version of the interface.
  private struct Files {
    let limit: String
    let used: String
    let inactive: String
  }

  private static let version2 = Files(limit: "memory.max", used: "memory.current", inactive: "inactive_file")
  private static let version1 = Files(
    limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", inactive: "total_inactive_file")

  /// Groups from the process's own to the root: the tightest of their limits counts.
  static func all(proc: String, root: String) -> [ControlGroup] {
    ControlGroups.levels(of: "memory", proc: proc, root: root).map { level in
      ControlGroup(directory: level.directory, level.isVersion2 ? version2 : version1)
    }
  }

  private init(directory: String, _ files: Files) {
    // The word "max" is not a number, which makes it no limit.
    limit = KernelText.line("\(directory)/\(files.limit)").flatMap { UInt64($0) }
    // The page cache counts as used, but is given up when memory is asked for.
    let inactive = KernelText.number("\(directory)/memory.stat", after: files.inactive) ?? 0
    used = KernelText.line("\(directory)/\(files.used)").flatMap { UInt64($0) }.map { $0.minus(inactive) }
  }
}

extension UInt64 {
  fileprivate func minus(_ other: UInt64) -> UInt64 { self > other ? self - other : 0 }

  fileprivate func plus(_ other: UInt64) -> UInt64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}
