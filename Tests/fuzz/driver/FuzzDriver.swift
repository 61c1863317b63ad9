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
