import Foundation
import NeedletailCore
import NeedletailTraining

/// Shows a run's progress on stderr, so that stdout stays free for its result. Used by the main thread only.
final class Console {
  private let isSilent: Bool
  private let terminal = Terminal(descriptor: 2)
  private var progress: ProgressDisplay?

  init(isSilent: Bool) { self.isSilent = isSilent }

  var observer: RunObserver {
    guard !isSilent else { return RunObserver() }
    return RunObserver(
      stage: { self.line($0) },
      epoch: { self.show($0) },
      warning: { self.line("warning: \($0)") })
  }

  func finish() {
    write(progress?.finish() ?? "")
    progress = nil
  }

  private func line(_ text: String) {
    finish()
    write(text + "\n")
  }

  private func show(_ report: EpochReport) {
    let now = Instant.now()
    var display = progress ?? ProgressDisplay(terminal: terminal, start: now)
    if let text = display.show(report, now: now) { write(text) }
    progress = display
  }

  private func write(_ text: String) {
    guard !text.isEmpty else { return }
    FileHandle.standardError.write(Data(text.utf8))
  }
}
