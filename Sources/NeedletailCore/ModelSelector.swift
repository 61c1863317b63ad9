/// Which version of a model a call asks for. A label borrows the bytes of the call.
public enum ModelSelector {
  /// What the rollout serves now.
  case serving
  case version(UInt64)
  /// UTF-8 as sent, unchecked.
  case label(UnsafeRawBufferPointer)
}
