internal import COpenSSL
internal import Glibc
internal import NeedletailCore
internal import NeedletailCrypto

/// An X.509 certificate. Immutable: OpenSSL lets all threads read it.
public final class TLSCertificate: @unchecked Sendable {
  let pointer: OpaquePointer

  /// - Parameter pointer: an `X509`, which this object frees at its end.
  init(owning pointer: OpaquePointer) { self.pointer = pointer }

  deinit { X509_free(pointer) }

  /// Reads all certificates of a PEM file, in their order.
  /// - Returns: nil if the file cannot be read, holds no certificate, or holds one that is malformed.
  public static func read(path: String) -> [TLSCertificate]? {
    PEMFile.read(path) { file in
      var certificates: [TLSCertificate] = []
      while let pointer = PEM_read_bio_X509(file, nil, PEMFile.noPassword, nil) {
        certificates.append(TLSCertificate(owning: pointer))
      }
      let isAtEnd = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE
      return isAtEnd && !certificates.isEmpty ? certificates : nil
    }
  }

  /// Time at which the certificate ends, in Unix seconds.
  public var notAfter: Int {
    var time = tm()
    // A time that cannot be read counts as long past.
    return ASN1_TIME_to_tm(X509_get0_notAfter(pointer), &time) == 1 ? timegm(&time) : 0
  }

  /// DNS names and URIs (SPIFFE) among the alternative names, in their order.
  ///
  /// The common name does not count: RFC 6125 deprecates it, and not every CA checks what stands there.
  public var names: [String] {
    guard let names = X509_get_ext_d2i(pointer, NID_subject_alt_name, nil, nil).map(OpaquePointer.init) else {
      ERR_clear_error()
      return []
    }
    defer { GENERAL_NAMES_free(names) }
    return (0..<nt_general_name_count(names)).compactMap { index in
      guard let name = nt_general_name_text(nt_general_name(names, index)) else { return nil }
      return Self.text(
        UnsafeBufferPointer(start: ASN1_STRING_get0_data(name), count: Int(ASN1_STRING_length(name))))
    }
  }

  /// The text of a name, or nil for bytes that are no name: a NUL inside must not shorten it to another one.
  private static func text(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    guard bytes.count <= Limits.certificateNameBytesMax, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
      return nil
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// The private key of a certificate. Immutable: OpenSSL lets all threads read it.
public final class TLSPrivateKey: @unchecked Sendable {
  let pointer: OpaquePointer

  private init(owning pointer: OpaquePointer) { self.pointer = pointer }

  deinit { EVP_PKEY_free(pointer) }

  /// Reads the first private key of a PEM file.
  /// - Returns: nil if the file cannot be read, or holds no private key or one that needs a password.
  public static func read(path: String) -> TLSPrivateKey? {
    PEMFile.read(path) { file in
      PEM_read_bio_PrivateKey(file, nil, PEMFile.noPassword, nil).map(TLSPrivateKey.init(owning:))
    }
  }
}

private enum PEMFile {
  /// Answers the question for a password. OpenSSL's own answer would be to ask at the terminal.
  static let noPassword:
    @convention(c) (UnsafeMutablePointer<CChar>?, Int32, Int32, UnsafeMutableRawPointer?) -> Int32 = {
      _, _, _, _ in 0
    }

  static func read<Value>(_ path: String, _ body: (OpaquePointer) -> Value?) -> Value? {
    CryptoLibrary.prepare()
    ERR_clear_error()
    defer { ERR_clear_error() }
    guard let file = BIO_new_file(path, "r") else { return nil }
    defer { BIO_free(file) }
    return body(file)
  }
}
