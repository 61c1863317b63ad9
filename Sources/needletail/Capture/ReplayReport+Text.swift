internal import NeedletailReplay

extension ReplayReport {
  /// Prints what was found, for people.
  func print() {
    let calls = BundleOutput.counted(compared, "call")
    Swift.print(
      "\(BundleOutput.plain(model)) against \(BundleOutput.plain(against)): \(calls), \(BundleOutput.counted(rows, "row"))"
    )
    if different == 0 {
      Swift.print(TerminalTable.styled("all answers are the same, bit for bit", .good))
    } else {
      let share = 100 * Double(different) / Double(max(compared, 1))
      let percent = (share * 100).rounded() / 100
      Swift.print(
        TerminalTable.styled("\(BundleOutput.grouped(different)) differ (\(percent) %)", .bad)
          + ", by \(maxDifference) at most; \(BundleOutput.counted(classChanges, "class")) changed")
    }
    if redacted > 0 { Swift.print("left out: \(BundleOutput.counted(redacted, "call")) with redacted features") }
    if momentary > 0 {
      Swift.print("left out: \(BundleOutput.counted(momentary, "call")) that ended for a reason of that moment")
    }
    if !isWhole { Swift.print(TerminalTable.styled("parts of the capture cannot be read", .bad)) }
    for difference in first {
      Swift.print(
        "  \(difference.time)  id \(difference.id)  \(BundleOutput.plain(difference.place)): expected "
          + "\(BundleOutput.plain(difference.expected)), found \(BundleOutput.plain(difference.found))")
    }
  }
}
