import Dispatch
import Foundation
import Glibc
import NeedletailCore
import NeedletailTraining
import Synchronization

/// What Ctrl-C and SIGTERM do to work that takes long. The first one lets work that can be ended well do so; the second
/// one, and the first one of other work, ends the program at once, with the exit status that a shell gives the signal.
final class Interruption: Sendable {
  /// The first signal; 0: none yet.
  private let asked = Atomic<Int32>(0)
  private let waiting = Atomic<Bool>(false)
  /// Run on a thread of their own, so that a family that never looks up can be ended too.
  private nonisolated(unsafe) let sources: [any DispatchSourceSignal]

  private static let signals = [SIGINT, SIGTERM]

  var isAsked: Bool { asked.load(ordering: .relaxed) != 0 }

  /// Whether it was SIGTERM, by which a scheduler takes the machine away.
  var isTerminated: Bool { asked.load(ordering: .relaxed) == SIGTERM }

  /// Says whether the work at hand looks at ``isAsked``.
  func canWait(_ can: Bool) { waiting.store(can, ordering: .relaxed) }

  /// - Parameters:
  ///   - notice: what happens after the first signal.
  ///   - atOnce: writes down that the run was ended, from another thread than the one that works.
  init(notice: String, atOnce: @escaping @Sendable () -> Void) {
    // The signal must not end the program before the source hears of it.
    for number in Self.signals { signal(number, SIG_IGN) }
    sources = Self.signals.map { DispatchSource.makeSignalSource(signal: $0, queue: .global()) }
    for (number, source) in zip(Self.signals, sources) {
      source.setEventHandler { [weak self] in
        let isFirst = self?.asked.exchange(number, ordering: .relaxed) == 0
        if isFirst, self?.waiting.load(ordering: .relaxed) == true {
          FileHandle.standardError.write(Data("\n\(notice); Ctrl-C again ends at once\n".utf8))
          return
        }
        atOnce()
        // Exit handlers are for a program whose other threads are at rest.
        _exit(128 + number)
      }
      source.resume()
    }
  }

  deinit {
    for source in sources { source.cancel() }
    for number in Self.signals { signal(number, SIG_DFL) }
  }
}

/// Shows progress on stderr, so that stdout holds nothing but a result.
final class Console: Sendable {
  private struct Displays {
    var progress: ProgressDisplay?
    var tuning: TuningDisplay
  }

  private let isSilent: Bool
  private let terminal = Terminal(descriptor: 2)
  private let displays: Mutex<Displays>

  init(isSilent: Bool) {
    self.isSilent = isSilent
    displays = Mutex(Displays(progress: nil, tuning: TuningDisplay(terminal: terminal)))
  }

  /// Shows a training.
  var observer: RunObserver {
    guard !isSilent else { return RunObserver() }
    return RunObserver(
      stage: { self.line($0) },
      epoch: { self.show($0) },
      warning: { self.line("warning: \($0)") })
  }

  /// Shows a search.
  var tuningObserver: TuningObserver {
    guard !isSilent else { return TuningObserver() }
    return TuningObserver(
      stage: { self.line($0) },
      progress: { progress in self.write { $0.tuning.show(progress, now: .now()) } },
      improved: { leader in self.write { $0.tuning.show(leader) } })
  }

  func line(_ text: String) {
    if !isSilent { write { Self.finish(&$0) + text + "\n" } }
  }

  /// Ends a line that is drawn again and again.
  func finish() { write(Self.finish) }

  private static func finish(_ displays: inout Displays) -> String {
    defer { displays.progress = nil }
    return (displays.progress?.finish() ?? "") + displays.tuning.finish()
  }

  private func show(_ report: EpochReport) {
    let now = Instant.now()
    write { displays in
      var display = displays.progress ?? ProgressDisplay(terminal: terminal, start: now)
      defer { displays.progress = display }
      return display.show(report, now: now) ?? ""
    }
  }

  private func write(_ text: (inout Displays) -> String) {
    let text = displays.withLock { text(&$0) }
    if !text.isEmpty { FileHandle.standardError.write(Data(text.utf8)) }
  }
}
