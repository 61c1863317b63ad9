// The functions of libneedletail.h, which documents them. Handles are objects that C holds a reference to. The compiler
// compares each with the header, and so wants its C name here.
// swift-format-ignore-file: AlwaysUseLowerCamelCase

public import CNeedletailEmbedded
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

@c(ntl_version) @implementation
public func ntl_version() -> UnsafePointer<CChar>? { Version.text }

@c(ntl_open) @implementation
public func ntl_open(
  _ path: UnsafePointer<CChar>?, _ options: UnsafePointer<ntl_options>?,
  _ model: UnsafeMutablePointer<OpaquePointer?>?, _ error: UnsafeMutablePointer<ntl_error>?
) -> ntl_code {
  model?.pointee = nil
  do throws(EmbeddedError) {
    guard let model else { throw .invalidArgument("model: expected a place for it, found NULL") }
    guard let path = try callerText(path, "path") else { throw .invalidArgument("path: expected one, found NULL") }
    let opened = try EmbeddedModel(path: path, EmbeddedModel.Options(options?.pointee ?? ntl_options()))
    model.pointee = OpaquePointer(Unmanaged.passRetained(opened).toOpaque())
    return NTL_OK
  } catch let failure {
    return failure.write(to: error)
  }
}

@c(ntl_describe) @implementation
public func ntl_describe(_ model: OpaquePointer?) -> UnsafePointer<ntl_description>? {
  model.map { borrowed($0, EmbeddedModel.self)._withUnsafeGuaranteedRef { $0.description.pointer } }
}

@c(ntl_find_output) @implementation
public func ntl_find_output(
  _ model: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ length: Int, _ index: UnsafeMutablePointer<Int>?,
  _ error: UnsafeMutablePointer<ntl_error>?
) -> ntl_code {
  do throws(EmbeddedError) {
    guard let model, let index else { throw .invalidArgument("model, index: expected both, found NULL") }
    let name = UnsafeRawBufferPointer(try callerBuffer(name, count: length, "name: bytes"))
    index.pointee = try borrowed(model, EmbeddedModel.self).takeUnretainedValue().outputIndex(of: name)
    return NTL_OK
  } catch let failure {
    return failure.write(to: error)
  }
}

@c(ntl_close) @implementation
public func ntl_close(_ model: OpaquePointer?) {
  if let model { borrowed(model, EmbeddedModel.self).release() }
}

@c(ntl_context_new) @implementation
public func ntl_context_new(
  _ model: OpaquePointer?, _ context: UnsafeMutablePointer<OpaquePointer?>?, _ error: UnsafeMutablePointer<ntl_error>?
) -> ntl_code {
  context?.pointee = nil
  do throws(EmbeddedError) {
    guard let model else { throw .invalidArgument("model: expected one, found NULL") }
    guard let context else { throw .invalidArgument("context: expected a place for it, found NULL") }
    let made = try EmbeddedContext(borrowed(model, EmbeddedModel.self).takeUnretainedValue())
    context.pointee = OpaquePointer(Unmanaged.passRetained(made).toOpaque())
    return NTL_OK
  } catch let failure {
    return failure.write(to: error)
  }
}

@c(ntl_context_free) @implementation
public func ntl_context_free(_ context: OpaquePointer?) {
  if let context { borrowed(context, EmbeddedContext.self).release() }
}

@c(ntl_predict) @implementation
public func ntl_predict(
  _ context: OpaquePointer?, _ inputs: UnsafePointer<ntl_tensor>?, _ inputCount: Int,
  _ outputs: UnsafePointer<ntl_output>?, _ outputCount: Int, _ error: UnsafeMutablePointer<ntl_error>?
) -> ntl_code {
  do throws(EmbeddedError) {
    guard let context else { throw .invalidArgument("context: expected one, found NULL") }
    let inputs = try callerBuffer(inputs, count: inputCount, "inputs")
    let outputs = try callerBuffer(outputs, count: outputCount, "outputs")
    return try with(context) { context throws(EmbeddedError) in try context.predict(inputs, outputs) }
  } catch let failure {
    return failure.write(to: error)
  }
}

@c(ntl_predict_rows) @implementation
public func ntl_predict_rows(
  _ context: OpaquePointer?, _ type: ntl_type, _ rows: UnsafeRawPointer?, _ rowCount: Int, _ columnCount: Int,
  _ outputs: UnsafePointer<ntl_output>?, _ outputCount: Int, _ error: UnsafeMutablePointer<ntl_error>?
) -> ntl_code {
  do throws(EmbeddedError) {
    guard let context else { throw .invalidArgument("context: expected one, found NULL") }
    let outputs = try callerBuffer(outputs, count: outputCount, "outputs")
    return try with(context) { context throws(EmbeddedError) in
      try context.predict(type, rows, rows: rowCount, columns: columnCount, outputs)
    }
  } catch let failure {
    return failure.write(to: error)
  }
}

// MARK: - handles and options

private func borrowed<Object: AnyObject>(_ handle: OpaquePointer, _ type: Object.Type) -> Unmanaged<Object> {
  Unmanaged.fromOpaque(UnsafeRawPointer(handle))
}

/// Uses a context without counting references, which would take a tenth of the time of a small model.
///
/// - Returns: `NTL_OK`.
@inline(__always)
private func with(
  _ handle: OpaquePointer, _ body: (EmbeddedContext) throws(EmbeddedError) -> Void
) throws(EmbeddedError) -> ntl_code {
  let failure: EmbeddedError? = borrowed(handle, EmbeddedContext.self)._withUnsafeGuaranteedRef { context in
    do throws(EmbeddedError) {
      try body(context)
      return nil
    } catch {
      return error
    }
  }
  if let failure { throw failure }
  return NTL_OK
}

/// Text of a C string; nil for NULL.
private func callerText(_ text: UnsafePointer<CChar>?, _ what: String) throws(EmbeddedError) -> String? {
  guard let text else { return nil }
  guard let string = String(validatingCString: text) else {
    throw .invalidArgument("\(what): expected UTF-8, found other bytes")
  }
  return string
}

private enum Version {
  /// The version of the product as C reads it, for as long as the process lives.
  nonisolated(unsafe) static let text: UnsafePointer<CChar>? = {
    let bytes = needletailVersion.utf8CString
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
    for (index, byte) in bytes.enumerated() { (copy + index).initialize(to: byte) }
    return UnsafePointer(copy)
  }()
}

extension EmbeddedModel.Options {
  /// Threads that a process may share layers among; the bound of a server's `engine.threads`.
  private static let threadsMax: UInt32 = 64

  fileprivate init(_ options: ntl_options) throws(EmbeddedError) {
    let trustFile = try callerText(options.trust_file, "trust_file")
    guard trustFile != nil || options.allow_unsigned else {
      throw .invalidArgument("trust: expected a trust file, or allow_unsigned, found neither")
    }
    var trust = TrustPolicy.allowingUnsigned
    if let trustFile {
      do throws(BundleError) { trust = try TrustPolicy.load(path: trustFile) } catch { throw EmbeddedError(error) }
      trust.allowUnsigned = options.allow_unsigned
    }
    self.init(trust: trust)
    if let name = try callerText(options.model, "model") {
      do throws(ServingError) { model = try ModelID(name) } catch { throw EmbeddedError(error) }
    }
    version = ModelVersion(options.version)
    guard options.threads <= Self.threadsMax else {
      throw .invalidArgument("threads: expected at most \(Self.threadsMax), found \(options.threads)")
    }
    threads = Int(max(1, options.threads))
    guard options.rows_per_run <= UInt32(Limits.batchRowsMaxDefault) else {
      throw .invalidArgument(
        "rows_per_run: expected at most \(Limits.batchRowsMaxDefault), found \(options.rows_per_run)")
    }
    if options.rows_per_run > 0 { plan.rowsMax = Int(options.rows_per_run) }
  }
}
