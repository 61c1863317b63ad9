/// Hands the process to libFuzzer, which calls `target` with its inputs until the time is up and
/// then ends the process.
///
/// SwiftPM wants a `main` in an executable, so libFuzzer is called rather than linked as `main`.
public func fuzz(_ target: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt) {
  var count = CommandLine.argc
  var arguments = CommandLine.unsafeArgv
  _ = runFuzzer(&count, &arguments, target)
}

@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ target: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// What libFuzzer's own `main` would call. That `main` is never run, but a build without optimisation links it.
@_cdecl("LLVMFuzzerTestOneInput")
public func inputOfAnotherMain(_: UnsafePointer<UInt8>?, _: Int) -> CInt {
  fatalError("expected fuzz(_:) to have the process, found libFuzzer's main")
}
