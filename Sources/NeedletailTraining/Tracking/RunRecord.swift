internal import Foundation
internal import Glibc

/// A run as the store keeps it.
public struct RunRecord: Equatable, Sendable {
  public enum State: String, Sendable, CaseIterable {
    case running
    /// It ended well and left no model of its own: a trial, or a study.
    case finished
    /// It made a model.
    case trained
    /// Its model is in a store for servers, which `message` names.
    case published
    /// The run ended with an error, which `message` holds.
    case failed
    /// The user stopped it.
    case interrupted
    /// Its process is gone and has not said how the run ended: it was killed, or the machine stopped.
    case lost
  }

  public var id: Int
  /// The study that a trial belongs to; nil for runs of their own.
  public var parent: Int?
  /// `train`, `study`, `trial`: what the run is.
  public var kind: String
  public var model: String
  public var family: String
  public var state: State
  public var startedMilliseconds: UInt64
  public var endedMilliseconds: UInt64?
  /// Directory with the run's files; empty where it has none.
  public var directory: String
  /// Reason of a failure, or a remark.
  public var message: String
  /// The run file with all defaults merged in, YAML.
  public var configuration: String
  public var dataSHA256: String
  /// Version that the bundle was given; nil without one.
  public var version: Int?
}

/// One value of a metric. Figures of a finished run have step 0; curves have steps from 1.
public struct RunMetric: Equatable, Sendable {
  public var key: String
  public var step: Int
  public var value: Double
  public var milliseconds: UInt64

  public init(_ key: String, step: Int = 0, _ value: Double, milliseconds: UInt64 = ExperimentStore.now) {
    self.key = key
    self.step = step
    self.value = value
    self.milliseconds = milliseconds
  }
}

/// A file that a run left behind.
public struct RunArtifact: Equatable, Sendable {
  public var name: String
  public var path: String
  public var bytes: Int

  public init(name: String, path: String, bytes: Int) {
    self.name = name
    self.path = path
    self.bytes = bytes
  }
}

extension RunRecord {
  init(_ row: [SQLiteValue]) {
    var state = State(rawValue: row[5].text ?? "") ?? .failed
    if state == .running, ProcessIdentity.isGone(row[13].text ?? "") { state = .lost }
    self.init(
      id: row[0].integer ?? 0, parent: row[1].integer, kind: row[2].text ?? "", model: row[3].text ?? "",
      family: row[4].text ?? "", state: state, startedMilliseconds: UInt64(max(0, row[6].integer ?? 0)),
      endedMilliseconds: row[7].integer.map { UInt64(max(0, $0)) }, directory: row[8].text ?? "",
      message: row[9].text ?? "", configuration: row[10].text ?? "", dataSHA256: row[11].text ?? "",
      version: row[12].integer)
  }
}

/// A process of one boot of one machine: its number alone may be given to another.
enum ProcessIdentity {
  static let own = "\(machine) \(boot) \(space) \(getpid()) \(start(of: getpid()) ?? "")"

  /// True for a process of this machine that has ended. One of another machine or container is unknown, and not called
  /// gone.
  static func isGone(_ identity: String) -> Bool {
    let parts = identity.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 5, parts[0] == machine, let number = Int32(parts[3]) else { return false }
    if parts[1] != boot { return true }
    return parts[2] == space && start(of: number) != parts[4]
  }

  private static let machine = line("/etc/machine-id") ?? line("/etc/hostname") ?? "unknown"
  private static let boot = line("/proc/sys/kernel/random/boot_id") ?? "unknown"
  /// Numbers of processes count in a name space of their own inside a container.
  private static let space = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/pid")) ?? ""

  /// The first line of a file, without spaces; nil where there is none.
  private static func line(_ path: String) -> String? {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
    return text.split(whereSeparator: \.isWhitespace).first.map(String.init)
  }

  /// Field 22 of `/proc/PID/stat`: the time at which the process began, in ticks since boot.
  private static func start(of process: Int32) -> String? {
    guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8) else { return nil }
    // The name of the program stands in parentheses and may hold any character.
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    return fields.count > 19 ? String(fields[19]) : nil
  }
}
