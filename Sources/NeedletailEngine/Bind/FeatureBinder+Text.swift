internal import CNeedletailKernels
public import NeedletailCore

/// Features that are free text. Their column is bound like any other, with checks; what follows copies the bytes, for
/// those of a call are gone before its run.
extension FeatureBinder {
  /// Bytes that the texts of some rows take; 0 for a model without text. The shapes of the tensors were checked.
  public func textBytes(of tensors: UnsafeBufferPointer<TensorView>, rows: Range<Int>) -> Int {
    var bytes = 0
    forEachText(of: tensors, rows: rows) { _, _, text in bytes += text?.count ?? 0 }
    return bytes
  }

  /// Upper bound of the tokens of some rows; as many units as rows for a model that has none.
  public func units(of tensors: UnsafeBufferPointer<TensorView>, rows: Range<Int>) -> Int {
    guard let tokenBound else { return rows.count }
    var units = 0
    for row in rows { units += tokenBound.tokens(textBytes: textBytes(of: tensors, rows: row..<row + 1)) }
    return units
  }

  /// How many of the rows from `first` on one run takes, by their number, by the bytes of their texts and by their tokens;
  /// at least one.
  ///
  /// - Parameter rows: rows of the call, more than `first`.
  public func rowsOfRun(
    _ tensors: UnsafeBufferPointer<TensorView>, from first: Int, of rows: Int, for plan: Plan
  ) -> Int {
    let most = min(plan.rowsMax, rows - first)
    guard textCount > 0 else { return most }
    var (count, room, unitsLeft) = (0, plan.textBytesMax, plan.extentMax.units)
    while count < most {
      let bytes = textBytes(of: tensors, rows: first + count..<first + count + 1)
      room -= bytes
      unitsLeft -= tokenBound?.tokens(textBytes: bytes) ?? 1
      if room < 0 || unitsLeft < 0 { break }
      count += 1
    }
    return max(count, 1)
  }

  /// Copies the texts of some rows, whose columns were bound.
  ///
  /// - Parameter used: bytes of texts that were taken of the memory before, and that are now.
  func copyTexts(
    _ tensors: UnsafeBufferPointer<TensorView>, rows: Range<Int>, into memory: RowMemory, used: inout Int
  ) {
    let places = memory.texts.assumingMemoryBound(to: nt_text_item.self)
    var next = used
    forEachText(of: tensors, rows: rows) { row, index, text in
      let place = places + (row - rows.lowerBound) * textCount + index
      next += Self.copy(text, to: memory.bytes + next, place)
    }
    used = next
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

  /// Goes through the texts of some rows: row, number of the text in it, and its bytes or nil where it is missing.
  private func forEachText(
    of tensors: UnsafeBufferPointer<TensorView>, rows: Range<Int>, _ body: (Int, Int, UnsafeRawBufferPointer?) -> Void
  ) {
    guard textCount > 0 else { return }
    if let tensor = denseTensor(tensors) {
      for row in rows {
        for index in 0..<textCount {
          body(row, index, tensor.type == .string ? tensor.strings[row * count + textFeatures[index]] : nil)
        }
      }
      return
    }
    for position in 0..<tensors.count {
      let tensor = tensors[position]
      guard let feature = feature(named: tensor.name, hint: position), columns[feature].isText else { continue }
      let index = columns[feature].textIndex
      for row in rows { body(row, index, tensor.strings[row]) }
    }
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
