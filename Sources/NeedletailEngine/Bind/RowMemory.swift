internal import CNeedletailKernels
internal import Glibc
internal import NeedletailCore

/// Memory that rows are bound into, for one run of a plan or for as long as their call waits. It borrows.
///
/// Every row has an item of ``Plan/inputItemBytes``. In a model that reads text it also has ``Plan/textItemBytes``, the
/// places of its texts, and the bytes of all texts lie one behind the other: a call's own bytes are gone before a run.
public struct RowMemory: BitwiseCopyable {
  /// Items of the rows, one after the other, aligned to their elements.
  public var items: UnsafeMutableRawPointer
  /// Places of texts, aligned to 8 bytes; not looked at without text.
  public var texts: UnsafeMutableRawPointer
  /// Bytes of texts; not looked at without text.
  public var bytes: UnsafeMutableRawPointer

  public init(items: UnsafeMutableRawPointer, texts: UnsafeMutableRawPointer, bytes: UnsafeMutableRawPointer) {
    self.items = items
    self.texts = texts
    self.bytes = bytes
  }

  /// Memory for rows without text.
  public init(items: UnsafeMutableRawPointer) { self.init(items: items, texts: items, bytes: items) }
}

extension Plan {
  /// Bytes of one block that holds so many bound rows with their texts.
  ///
  /// - Parameter textBytes: of all texts together.
  public func boundBytes(rows: Int, textBytes: Int) -> Int {
    guard textsPerRow > 0 else { return rows * inputItemBytes }
    return textsOffset(rows: rows) + rows * textItemBytes + textBytes
  }

  /// The parts of such a block.
  ///
  /// - Parameter block: aligned to 8 bytes.
  public func rowMemory(at block: UnsafeMutableRawPointer, rows: Int) -> RowMemory {
    let texts = block + textsOffset(rows: rows)
    return RowMemory(items: block, texts: texts, bytes: texts + rows * textItemBytes)
  }

  private func textsOffset(rows: Int) -> Int { (rows * inputItemBytes + 7) & ~7 }

  /// Copies bound rows from one place to another. The bytes of their texts stay where they are.
  public func copyRows(from source: RowMemory, at first: Int, count: Int, to target: RowMemory, at row: Int) {
    memmove(target.items + row * inputItemBytes, source.items + first * inputItemBytes, count * inputItemBytes)
    if textsPerRow > 0 {
      memmove(target.texts + row * textItemBytes, source.texts + first * textItemBytes, count * textItemBytes)
    }
  }

  /// Bytes of bound rows that are the same if and only if the rows are: the rows themselves, where they hold no text.
  ///
  /// - Parameter memory: takes the bytes of rows with text, each text behind its length.
  /// - Returns: nil if `memory` is too small.
  public func keyBytes(
    of rows: RowMemory, from first: Int, count: Int, in memory: UnsafeMutableRawBufferPointer
  ) -> UnsafeRawBufferPointer? {
    let items = UnsafeRawBufferPointer(start: rows.items + first * inputItemBytes, count: count * inputItemBytes)
    guard textsPerRow > 0 else { return items }
    guard items.count <= memory.count else { return nil }
    memory.copyMemory(from: items)
    var used = items.count
    let texts = rows.texts.assumingMemoryBound(to: nt_text_item.self) + first * textsPerRow
    for index in 0..<count * textsPerRow {
      let text = texts[index]
      let bytes = 8 + Int(text.length)
      guard bytes <= memory.count - used else { return nil }
      memory.storeBytes(of: text.length, toByteOffset: used, as: UInt32.self)
      memory.storeBytes(of: UInt32(text.flags), toByteOffset: used + 4, as: UInt32.self)
      if let start = text.bytes, let place = memory.baseAddress {
        (place + used + 8).copyMemory(from: start, byteCount: Int(text.length))
      }
      used += bytes
    }
    return UnsafeRawBufferPointer(rebasing: memory[..<used])
  }

  /// How many of bound rows from `first` on one run takes, by their number and by their tokens; at least one.
  ///
  /// - Parameter rows: number of bound rows, more than `first`.
  public func rowsOfRun(_ bound: RowMemory, from first: Int, of rows: Int) -> Int {
    let most = min(rowsMax, rows - first)
    guard let tokenBound else { return most }
    let texts = bound.texts.assumingMemoryBound(to: nt_text_item.self)
    var (count, unitsLeft) = (0, extentMax.units)
    while count < most {
      let own = texts + (first + count) * textsPerRow
      let bytes = (0..<textsPerRow).reduce(0) { $0 + Int(own[$1].length) }
      unitsLeft -= tokenBound.tokens(textBytes: bytes)
      if unitsLeft < 0 { break }
      count += 1
    }
    return max(count, 1)
  }

  /// Copies the first rows with the bytes of their texts, so that they outlive their source.
  ///
  /// - Parameters:
  ///   - count: number of rows there are.
  ///   - room: bytes for texts at the target.
  /// - Returns: how many rows fitted.
  public func keepRows(from source: RowMemory, count: Int, in target: RowMemory, room: Int) -> Int {
    var (kept, used) = (count, 0)
    if textsPerRow > 0 {
      let from = source.texts.assumingMemoryBound(to: nt_text_item.self)
      let to = target.texts.assumingMemoryBound(to: nt_text_item.self)
      kept = 0
      while kept < count {
        let own = from + kept * textsPerRow
        let bytes = (0..<textsPerRow).reduce(0) { $0 + Int(own[$1].length) }
        guard used + bytes <= room else { break }
        for index in 0..<textsPerRow {
          var item = own[index]
          let place = target.bytes + used
          if let start = item.bytes { place.copyMemory(from: start, byteCount: Int(item.length)) }
          item.bytes = UnsafePointer(place.assumingMemoryBound(to: UInt8.self))
          to[kept * textsPerRow + index] = item
          used += Int(item.length)
        }
        kept += 1
      }
    }
    target.items.copyMemory(from: source.items, byteCount: kept * inputItemBytes)
    return kept
  }
}

extension Workspace {
  /// Memory for bound rows of the plan's largest extent, and for ``Plan/textBytesMax`` bytes of their texts.
  public var rows: RowMemory {
    RowMemory(items: input, texts: memory + plan.textsOffset, bytes: memory + plan.workspaceBytes - plan.textBytesMax)
  }

  /// Text that stands for real ones where a plan is run to learn what it costs.
  private static let sampleText: StaticString =
    "Runs when nobody calls: an ordinary sentence of some fifteen words, as long as real texts often are. "

  /// Bytes of that text.
  public static var sampleTextBytes: Int { sampleText.utf8CodeUnitCount }

  /// Gives every row the same text, as a stand-in for calls. Models without text stay as they are.
  ///
  /// - Parameter bytes: length of the text, up to that of ``sampleTextBytes``.
  public func fillTexts(rows count: Int, bytes: Int = Self.sampleTextBytes) {
    let rows = rows
    let length = UInt32(min(bytes, Self.sampleTextBytes))
    let texts = rows.texts.assumingMemoryBound(to: nt_text_item.self)
    for index in 0..<count * plan.textsPerRow {
      texts[index] = nt_text_item(
        bytes: Self.sampleText.utf8Start, length: length, flags: 0)
    }
  }
}
