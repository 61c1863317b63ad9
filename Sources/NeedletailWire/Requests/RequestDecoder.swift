public import NeedletailCore

/// Reads the `Request` of one frame, without copying what it can point to.
public enum RequestDecoder {
  /// - Parameters:
  ///   - frame: the bytes after the length word; the view borrows them.
  ///   - arena: reset here; it owns the view's arrays until its next reset.
  /// - Throws: `.invalidArgument`, which goes to the id that ``peekID(_:)`` finds.
  public static func decode(
    _ frame: UnsafeRawBufferPointer, arena: MessageArena
  ) throws(ServingError) -> RequestView { fatalError() }

  /// The request's id as far as the bytes can be read, or 0: an error about an undecodable request
  /// should still reach its caller.
  public static func peekID(_ frame: UnsafeRawBufferPointer) -> UInt64 { fatalError() }
}
