import CNeedletailEmbedded
import NeedletailBundle
import NeedletailCore
import NeedletailTestSupport
import Testing

/// A call of the C interface that failed.
struct CallFailure: Error, Equatable {
  let code: ntl_code
  let message: String

  init(_ code: ntl_code, _ error: ntl_error) {
    self.code = code
    message = withUnsafeBytes(of: error.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  static func == (a: CallFailure, b: CallFailure) -> Bool { a.code == b.code && a.message == b.message }
}

/// Throws what a call says went wrong.
func check(_ body: (UnsafeMutablePointer<ntl_error>) -> ntl_code) throws(CallFailure) {
  var error = ntl_error()
  let code = body(&error)
  guard code != NTL_OK else { return }
  guard code == error.code else { throw CallFailure(NTL_INTERNAL, error) }
  throw CallFailure(code, error)
}

/// A model opened through the C interface, closed at its end.
final class OpenedModel {
  let handle: OpaquePointer

  init(
    _ path: String, trustFile: String? = nil, allowUnsigned: Bool = true, name: String? = nil, version: UInt64 = 0,
    rowsPerRun: UInt32 = 0
  ) throws {
    var handle: OpaquePointer?
    func open(_ trustFile: UnsafePointer<CChar>?, _ name: UnsafePointer<CChar>?) throws(CallFailure) {
      var options = ntl_options()
      options.trust_file = trustFile
      options.allow_unsigned = allowUnsigned
      options.model = name
      options.version = version
      options.rows_per_run = rowsPerRun
      try check { ntl_open(path, &options, &handle, $0) }
    }
    switch (trustFile, name) {
    case (nil, nil): try open(nil, nil)
    case (let trustFile?, nil): try trustFile.withCString { try open($0, nil) }
    case (nil, let name?): try name.withCString { try open(nil, $0) }
    case (let trustFile?, let name?):
      try trustFile.withCString { trustFile in try name.withCString { try open(trustFile, $0) } }
    }
    self.handle = try #require(handle)
  }

  /// A model of a bundle that is written, opened and removed.
  convenience init(_ contents: BundleContents, rowsPerRun: UInt32 = 0) throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write(BundleFixtures.bundle(contents), to: "1.ntb")
    try self.init(path, rowsPerRun: rowsPerRun)
  }

  deinit { ntl_close(handle) }

  var description: ntl_description {
    get throws { try #require(ntl_describe(handle)).pointee }
  }

  func context() throws -> OpenedContext { try OpenedContext(self) }
}

/// Scratch through the C interface.
final class OpenedContext {
  let handle: OpaquePointer

  init(_ model: OpenedModel) throws {
    var handle: OpaquePointer?
    try check { ntl_context_new(model.handle, &handle, $0) }
    self.handle = try #require(handle)
  }

  deinit { ntl_context_free(handle) }

  /// Numbers of one output for rows of all features.
  func floats(_ rows: [[Float]], output: Int = 0, columns: Int) throws(CallFailure) -> [Float] {
    let flat = rows.flatMap(\.self)
    var values = [Float](repeating: -1, count: rows.count * columns)
    let count = values.count
    let failure: CallFailure? = values.withUnsafeMutableBytes { memory in
      var answer = ntl_output(index: output, values: memory.baseAddress, capacity: count)
      do throws(CallFailure) {
        try check { error in
          flat.withUnsafeBytes {
            ntl_predict_rows(
              handle, NTL_FLOAT32, $0.baseAddress, rows.count, rows.first?.count ?? 0, &answer, 1, error)
          }
        }
        return nil
      } catch {
        return error
      }
    }
    if let failure { throw failure }
    return values
  }

  /// Answers columns; `answers` are filled.
  func predict(_ tensors: CTensors, _ answers: [ntl_output]) throws(CallFailure) {
    try check { error in
      answers.withUnsafeBufferPointer {
        ntl_predict(handle, tensors.list, tensors.list.count, $0.baseAddress, $0.count, error)
      }
    }
  }
}

/// C tensors that own the memory they name.
final class CTensors {
  private(set) var list: [ntl_tensor] = []
  private var blocks: [UnsafeMutableRawPointer] = []

  deinit { for block in blocks { block.deallocate() } }

  func add<Element: BitwiseCopyable>(_ name: String, _ type: ntl_type, shape: [UInt64], _ elements: [Element]) {
    var tensor = named(name, type, shape)
    tensor.data = UnsafeRawPointer(copy(elements))
    tensor.data_bytes = elements.count * MemoryLayout<Element>.stride
    list.append(tensor)
  }

  func add(_ name: String, shape: [UInt64], texts: [String]) {
    var tensor = named(name, NTL_STRING, shape)
    let views = texts.map {
      ntl_text(bytes: UnsafePointer(copy($0.utf8.map(CChar.init(bitPattern:)))), length: $0.utf8.count)
    }
    tensor.texts = UnsafePointer(copy(views))
    tensor.text_count = views.count
    list.append(tensor)
  }

  func append(_ tensor: ntl_tensor) { list.append(tensor) }

  /// A tensor without elements.
  func named(_ name: String, _ type: ntl_type, _ shape: [UInt64]) -> ntl_tensor {
    var tensor = ntl_tensor()
    tensor.name = UnsafePointer(copy(name.utf8.map(CChar.init(bitPattern:))))
    tensor.name_length = name.utf8.count
    tensor.type = type
    tensor.shape = UnsafePointer(copy(shape))
    tensor.rank = shape.count
    return tensor
  }

  private func copy<Element: BitwiseCopyable>(_ elements: [Element]) -> UnsafeMutablePointer<Element> {
    let block = UnsafeMutablePointer<Element>.allocate(capacity: max(1, elements.count))
    for (index, element) in elements.enumerated() { (block + index).initialize(to: element) }
    blocks.append(UnsafeMutableRawPointer(block))
    return block
  }
}

extension String {
  init(_ text: ntl_text) {
    self.init(decoding: UnsafeRawBufferPointer(start: text.bytes, count: text.length), as: UTF8.self)
  }
}
