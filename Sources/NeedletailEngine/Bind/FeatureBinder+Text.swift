internal import CNeedletailKernels
public import NeedletailCore

/// Features that are free text. Their column is bound like any other, with checks; what follows copies the bytes, for
/// those of a call are gone before its run.
extension FeatureBinder {
  /// Bytes of the texts of some rows, and how much there is to compute, in one pass over their lengths: as many units as
  /// rows for a model that does not read text as tokens, else an upper bound of the tokens.
  ///
  /// - Complexity: O(tensors + texts of the rows).
  func measureTexts(_ tensors: UnsafeBufferPointer<TensorView>, rows: Range<Int>) -> (bytes: Int, units: Int) {
    guard textCount > 0 else { return (0, rows.count) }
    return withTexts(of: tensors) { texts in
      var (sum, units) = (0, 0)
      for row in rows {
        let bytes = texts.bytes(row)
        sum += bytes
        units += tokenBound?.tokens(textBytes: bytes) ?? 1
      }
      return (sum, units)
    }
  }

  /// How many of the rows from `first` on one run takes, by their number, by the bytes of their texts and by their tokens;
  /// at least one.
  ///
  /// - Parameter rows: rows of the call, more than `first`.
  /// - Complexity: O(tensors + texts of the rows that fit).
  public func rowsOfRun(
    _ tensors: UnsafeBufferPointer<TensorView>, from first: Int, of rows: Int, for plan: Plan
  ) -> Int {
    let most = min(plan.rowsMax, rows - first)
    guard textCount > 0 else { return most }
    return withTexts(of: tensors) { texts in
      var (count, room, unitsLeft) = (0, plan.textBytesMax, plan.extentMax.units)
      while count < most {
        let bytes = texts.bytes(first + count)
        room -= bytes
        unitsLeft -= tokenBound?.tokens(textBytes: bytes) ?? 1
        if room < 0 || unitsLeft < 0 { break }
        count += 1
      }
      return max(count, 1)
    }
  }

  /// Copies the texts of some rows, whose columns were bound.
  ///
  /// - Parameter used: bytes of texts that were taken of the memory before, and that are now.
  func copyTexts(
    _ tensors: UnsafeBufferPointer<TensorView>, rows: Range<Int>, into memory: RowMemory, used: inout Int
  ) {
    var place = memory.texts.assumingMemoryBound(to: nt_text_item.self)
    withTexts(of: tensors) { texts in
      for row in rows {
        for index in 0..<textCount {
          used += Self.copy(texts[row, index], to: memory.bytes + used, place)
          place += 1
        }
      }
    }
  }

  /// Copies the texts of one row of cells.
  func copyTexts(_ cells: [Cell], row: Int, into memory: RowMemory, used: inout Int) {
    let places = memory.texts.assumingMemoryBound(to: nt_text_item.self) + row * textCount
    for index in 0..<textCount {
      if case .text(var text) = cells[textFeatures[index]] {
        let start = memory.bytes + used
        used += text.withUTF8 { Self.copy(UnsafeRawBufferPointer($0), to: start, places + index) }
      } else {
        _ = Self.copy(nil, to: memory.bytes + used, places + index)
      }
    }
  }

  private static func copy(
    _ text: UnsafeRawBufferPointer?, to start: UnsafeMutableRawPointer, _ place: UnsafeMutablePointer<nt_text_item>
  ) -> Int {
    if let text, let source = text.baseAddress { start.copyMemory(from: source, byteCount: text.count) }
    place.pointee = nt_text_item(
      bytes: UnsafePointer(start.assumingMemoryBound(to: UInt8.self)), length: UInt32(text?.count ?? 0),
      flags: text == nil ? UInt32(NT_TEXT_ITEM_MISSING) : 0)
    return text?.count ?? 0
  }

  /// Finds the tensors that hold the texts of a call, once for all rows: a name is not looked up again for each of them.
  private func withTexts<Result>(
    of tensors: UnsafeBufferPointer<TensorView>, _ body: (CallTexts) -> Result
  ) -> Result {
    // At most `Limits.textFeaturesMax` numbers, which the stack has room for.
    withUnsafeTemporaryAllocation(of: Int.self, capacity: textCount) { positions in
      positions.initialize(repeating: -1)
      if let tensor = denseTensor(tensors) {
        if tensor.type == .string { positions.update(repeating: 0) }
        return body(
          CallTexts(tensors: tensors, positions: positions, columns: count, features: UnsafePointer(textFeatures)))
      }
      for position in 0..<tensors.count {
        guard let feature = feature(named: tensors[position].name, hint: position), columns[feature].isText else {
          continue
        }
        positions[columns[feature].textIndex] = position
      }
      return body(CallTexts(tensors: tensors, positions: positions, columns: 1, features: nil))
    }
  }
}

/// Where the texts of a call's rows lie. It borrows the call's tensors.
private struct CallTexts {
  let tensors: UnsafeBufferPointer<TensorView>
  /// Tensor of each text of a row; −1: the texts are missing.
  let positions: UnsafeMutableBufferPointer<Int>
  /// Elements of one row of a tensor.
  let columns: Int
  /// Element of each text in its row; nil where a row has one element.
  let features: UnsafePointer<Int>?

  /// Bytes of a text; nil: it is missing.
  subscript(row: Int, index: Int) -> UnsafeRawBufferPointer? {
    let position = positions[index]
    guard position >= 0 else { return nil }
    return tensors[position].strings[row * columns + (features?[index] ?? 0)]
  }

  /// Bytes of all texts of a row.
  func bytes(_ row: Int) -> Int {
    var bytes = 0
    for index in 0..<positions.count { bytes += self[row, index]?.count ?? 0 }
    return bytes
  }
}

// MARK: - cells

extension FeatureBinder {
  /// Bytes that the texts of a row of cells take.
  public func textBytes(of cells: [Cell]) -> Int {
    var bytes = 0
    for index in 0..<textCount {
      if case .text(let text) = cells[textFeatures[index]] { bytes += text.utf8.count }
    }
    return bytes
  }

  /// Binds rows of cells, as many as one run takes: for tools, which have rows one by one.
  ///
  /// - Parameters:
  ///   - rows: number of rows from `first` on.
  ///   - first: number of the first row, by which messages and `cells` count.
  ///   - plan: of the model that the binder belongs to.
  ///   - memory: room for the plan's largest extent, as a workspace has.
  ///   - cells: the cells of a row, in schema order.
  /// - Returns: how many rows were bound, at least one.
  /// - Throws: as ``bind(_:row:into:)-([Cell],_,_)``.
  public func bind(
    rows: Int, from first: Int, for plan: Plan, into memory: RowMemory, cells: (Int) -> [Cell]
  ) throws(ServingError) -> Int {
    var (count, used, units) = (0, 0, 0)
    while count < min(rows, plan.rowsMax) {
      let own = cells(first + count)
      let bytes = own.count == self.count ? textBytes(of: own) : 0
      units += tokenBound?.tokens(textBytes: bytes) ?? 1
      let isRoomLeft = used + bytes <= plan.textBytesMax && units <= plan.extentMax.units
      // What is too long for any run is refused by the checks of binding.
      guard count == 0 || isRoomLeft else { break }
      try bind(own, row: first + count, into: memory.items + count * plan.inputItemBytes)
      copyTexts(own, row: count, into: memory, used: &used)
      count += 1
    }
    return count
  }
}
