internal import COpenSSL

/// The process-wide state of OpenSSL.
public enum CryptoLibrary {
  /// Initialises OpenSSL before its first use. Any thread may call it, any number of times.
  ///
  /// By itself OpenSSL would free its state in an `atexit` handler, under threads that still use it then.
  public static func prepare() { _ = prepared }

  private static let prepared: Void = {
    precondition(OPENSSL_init_crypto(UInt64(OPENSSL_INIT_NO_ATEXIT), nil) == 1, "OpenSSL cannot be initialised")
  }()

  /// Bytes from the operating system's random numbers, for keys.
  public static func randomBytes(_ count: Int) -> [UInt8] {
    var generator = SystemRandomNumberGenerator()
    return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
  }
}
