internal import CNeedletailText
public import NeedletailCore

extension ModelGraph {
  /// How many tokens rows may have; nil where no node tokenises. The graph has been checked.
  var tokenBound: TokenBound? {
    guard let tokenizer else { return nil }
    for node in nodes {
      if let tokenize = node.operation as? Tokenize { return tokenizer.bound(rowMax: tokenize.tokensMax) }
    }
    return nil
  }
}

extension Plan {
  /// Error of the first of some rows that the last run could not tokenise; nil: it tokenised all.
  ///
  /// - Parameters:
  ///   - rows: rows of the run.
  ///   - first: number of the first of them in its call, for the message.
  /// - Complexity: O(rows) for models that read text as tokens, else O(1).
  @inline(__always)
  public func textError(
    _ workspace: borrowing Workspace, rows: Range<Int>, first: Int = 0
  ) -> ServingError? {
    guard let statusesOffset else { return nil }
    let statuses = (workspace.memory + statusesOffset).assumingMemoryBound(to: UInt32.self)
    for row in rows where statuses[row] != NT_TEXT_OK.rawValue {
      return textError(status: statuses[row], row: first + row - rows.lowerBound)
    }
    return nil
  }

  @inline(never)
  private func textError(status: UInt32, row: Int) -> ServingError {
    let scratch = tokenizer?.scratch
    let status = nt_text_status(status)
    let place = status == NT_TEXT_TOO_LONG ? scratch?.bytesMax : scratch?.tokensMax
    let error = Tokenizer.error(status, at: place ?? 0)
    return .invalidArgument("row \(row), \(error.message)", .init(row: UInt64(clamping: row)))
  }
}

extension Workspace {
  /// Says how many tokens each row of the next run has, for plans that no operation tells.
  ///
  /// - Parameter counts: one a row; no more rows and tokens in sum than ``Plan/extentMax`` has.
  public func set(tokenCounts counts: [Int]) {
    guard let offset = plan.startsOffset else { preconditionFailure("the plan has no values per token") }
    let extent = BatchExtent(rows: counts.count, units: counts.reduce(0, +))
    precondition(counts.allSatisfy { $0 >= 0 } && extent.fits(in: plan.extentMax), "extent out of range")
    let starts = (memory + offset).assumingMemoryBound(to: UInt32.self)
    starts[0] = 0
    for (row, count) in counts.enumerated() { starts[row + 1] = starts[row] + UInt32(count) }
  }

  /// Tokens of the first rows of the last run; as many as rows in plans without values per token.
  public func tokenCount(rows: Int) -> Int {
    guard let offset = plan.startsOffset else { return rows }
    return Int((memory + offset).assumingMemoryBound(to: UInt32.self)[rows])
  }
}
