internal import NeedletailSystem
internal import Synchronization

/// Bytes that requests, or results, of jobs may take together. Any thread; wait-free.
final class JobBudget: Sendable {
  let bytesMax: Int
  private let taken = Atomic(0)
  /// Signalled when bytes are given back.
  private let wakeup: Wakeup

  init(bytesMax: Int, wakeup: Wakeup) {
    self.bytesMax = bytesMax
    self.wakeup = wakeup
  }

  var bytesTaken: Int { taken.load(ordering: .relaxed) }

  /// Takes bytes until the reservation ends.
  /// - Returns: nil if there is no room for so many.
  func reserve(_ bytes: Int) -> JobReservation? {
    guard taken.add(bytes, ordering: .relaxed).newValue > bytesMax else { return JobReservation(self, bytes: bytes) }
    taken.subtract(bytes, ordering: .relaxed)
    return nil
  }

  /// Takes bytes, room or not: for the one job that runs, whose size has a bound of its own.
  func take(_ bytes: Int) -> JobReservation {
    taken.add(bytes, ordering: .relaxed)
    return JobReservation(self, bytes: bytes)
  }

  fileprivate func giveBack(_ bytes: Int) {
    taken.subtract(bytes, ordering: .relaxed)
    wakeup.signal()
  }
}

/// Bytes of a budget, given back with its last reference.
final class JobReservation: Sendable {
  private let budget: JobBudget
  private let bytes: Atomic<Int>

  fileprivate init(_ budget: JobBudget, bytes: Int) {
    self.budget = budget
    self.bytes = Atomic(bytes)
  }

  deinit { budget.giveBack(bytes.load(ordering: .relaxed)) }

  /// Gives back what is not needed.
  /// - Parameter count: no more than was reserved.
  func shrink(to count: Int) {
    let before = bytes.exchange(count, ordering: .relaxed)
    if before > count { budget.giveBack(before - count) }
  }
}
