internal import NIOSSL
internal import NeedletailCore

/// The names in a certificate that a key file may grant something to.
enum CertificateNames {
  /// DNS names and URIs (SPIFFE) among the alternative names, in their order. The common name is not
  /// looked at: RFC 6125 has it retired, and not every CA checks what stands there.
  static func of(_ certificate: NIOSSLCertificate) -> [String] {
    certificate._subjectAlternativeNames().compactMap { name in
      switch name.nameType {
      case .dnsName, .uri: text(name.contents)
      default: nil
      }
    }
  }

  /// Nil for what is no name: a NUL inside must not shorten it to another.
  private static func text(_ bytes: some Collection<UInt8>) -> String? {
    guard bytes.count <= Limits.certificateNameBytesMax, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
      return nil
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
