internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailSystem

/// A safetensors file whose header was checked, and whose tensors are read one at a time: a large model never stands in
/// memory twice.
final class TensorFile {
  let path: String
  private let tensors: [ForeignKey: SafeTensorsHeader.Tensor]
  private let file: FileDescriptor

  /// - Throws: `TrainingError` that names the file and what is wrong with its header.
  init(_ path: String) throws(TrainingError) {
    self.path = path
    do throws(FileReadError) {
      file = try FileDescriptor.regularFile(path)
    } catch {
      let found =
        switch error {
        case .missing: "none"
        case .notARegularFile, .tooLong: "something else"
        case .system(let error): error.reason
        }
      throw .importing("\(path): expected a readable file, found \(found)")
    }
    do throws(TrainingError) {
      let fileBytes = try Self.byteCount(file)
      let start = try Self.read(file, 0..<min(fileBytes, SafeTensorsHeader.lengthBytes))
      let length = try SafeTensorsHeader.length(start, fileBytes: fileBytes)
      let header = try SafeTensorsHeader(
        try Self.read(file, SafeTensorsHeader.lengthBytes..<SafeTensorsHeader.lengthBytes + length),
        fileBytes: fileBytes)
      // Keys of an object are there once.
      tensors = Dictionary(uniqueKeysWithValues: header.tensors.map { (ForeignKey($0.name), $0) })
    } catch {
      throw TrainingError(error.kind, "\(path): \(error.message)")
    }
  }

  var names: [String] { tensors.values.map(\.name).sorted() }

  func has(_ name: String) -> Bool { tensors[ForeignKey(name)] != nil }

  /// Shape of a tensor; nil where there is none of that name.
  func shape(of name: String) -> [Int]? { tensors[ForeignKey(name)]?.shape }

  /// Numbers of a tensor as fp32, row-major.
  ///
  /// - Parameters:
  ///   - shape: what it must be; nil for a dimension that may have any size from 1.
  ///   - readsIntegers: whether int8 counts as numbers too. Where a scale belongs to it, it does not.
  /// - Throws: `TrainingError` that names the tensor, what was expected and what was found.
  func floats(
    _ name: String, shape: [Int?], readsIntegers: Bool = false
  ) throws(TrainingError) -> (floats: [Float], shape: [Int]) {
    let (tensor, bytes) = try read(name, shape: shape)
    guard readsIntegers || tensor.element != .int8,
      let floats = bytes.withUnsafeBytes({ TensorNumbers.floats($0, tensor.element) })
    else {
      throw fault(name, readsIntegers ? "F32, F16, BF16, F64 or I8" : "F32, F16, BF16 or F64", tensor.element.rawValue)
    }
    if let index = floats.firstIndex(where: { !$0.isFinite }) {
      throw fault(name, "finite numbers", "\(floats[index]) at \(index)")
    }
    return (floats, tensor.shape)
  }

  /// Whole numbers of a tensor of one dimension.
  ///
  /// - Parameters:
  ///   - count: how many it must have.
  ///   - range: what all of them must be in.
  /// - Throws: `TrainingError` that names the tensor, what was expected and what was found.
  func integers(_ name: String, count: Int, in range: Range<Int>) throws(TrainingError) -> [Int] {
    let (tensor, bytes) = try read(name, shape: [count])
    guard let integers = bytes.withUnsafeBytes({ TensorNumbers.integers($0, tensor.element) }) else {
      throw fault(name, "whole numbers", tensor.element.rawValue)
    }
    if let index = integers.firstIndex(where: { $0 == nil || !range.contains($0!) }) {
      let found = integers[index].map { "\($0)" } ?? "more"
      throw fault(name, "\(range.lowerBound) to \(range.upperBound - 1)", "\(found) at \(index)")
    }
    return integers.compactMap { $0 }
  }

  private func fault(_ name: String, _ expected: String, _ found: String) -> TrainingError {
    .importing("\(path): tensor \(name.quotedForMessage): expected \(expected), found \(found)")
  }

  /// Bytes of a tensor whose shape was checked.
  private func read(
    _ name: String, shape: [Int?]
  ) throws(TrainingError) -> (tensor: SafeTensorsHeader.Tensor, bytes: [UInt8]) {
    let words = "[" + shape.map { $0.map(String.init) ?? "any" }.joined(separator: ", ") + "]"
    guard let tensor = tensors[ForeignKey(name)] else {
      throw fault(name, "shape \(words)", "no tensor of that name")
    }
    guard tensor.shape.count == shape.count,
      zip(tensor.shape, shape).allSatisfy({ $0 > 0 && ($1 == nil || $0 == $1) })
    else { throw fault(name, "shape \(words)", "shape \(tensor.shape)") }
    do throws(TrainingError) { return (tensor, try Self.read(file, tensor.range)) } catch {
      throw TrainingError(error.kind, "\(path): \(error.message)")
    }
  }

  private static func byteCount(_ file: borrowing FileDescriptor) throws(TrainingError) -> Int {
    do throws(SystemError) { return try file.byteCount() } catch { throw .importing(error.description) }
  }

  private static func read(_ file: borrowing FileDescriptor, _ range: Range<Int>) throws(TrainingError) -> [UInt8] {
    var failure: SystemError?
    let bytes = [UInt8](unsafeUninitializedCapacity: range.count) { buffer, count in
      do throws(SystemError) {
        guard lseek(file.number, off_t(range.lowerBound), SEEK_SET) >= 0 else { throw SystemError("seek") }
        count = try file.read(into: UnsafeMutableRawBufferPointer(buffer))
      } catch {
        failure = error
      }
    }
    if let failure { throw .importing("expected to read it, found: \(failure.reason)") }
    guard bytes.count == range.count else {
      throw .importing("expected \(range.count) bytes from \(range.lowerBound), found the end of the file")
    }
    return bytes
  }
}
