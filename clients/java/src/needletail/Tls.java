package needletail;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.Collection;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Makes an SSLContext of PEM files. */
public final class Tls {
  private static final Pattern KEY =
      Pattern.compile("-----BEGIN PRIVATE KEY-----(.*?)-----END PRIVATE KEY-----", Pattern.DOTALL);
  /** Needed by the interface; the keys live in memory only. */
  private static final char[] NO_PASSWORD = {};

  private Tls() {}

  /** A context that trusts a CA. */
  public static SSLContext context(Path ca) {
    return context(ca, null, null);
  }

  /**
   * A context that trusts a CA and shows a certificate of the client's, for mutual TLS. A null CA stands for those
   * that Java trusts. The key is PKCS#8, as "BEGIN PRIVATE KEY" says.
   */
  public static SSLContext context(Path ca, Path certificate, Path key) {
    if ((certificate == null) != (key == null)) {
      throw NeedletailException.invalid("tls: expected a certificate and its key, found one of them");
    }
    try {
      SSLContext context = SSLContext.getInstance("TLS");
      KeyManagerFactory own = null;
      if (certificate != null) {
        KeyStore store = empty();
        Certificate[] chain = certificates(certificate).toArray(new Certificate[0]);
        store.setKeyEntry("client", privateKey(key), NO_PASSWORD, chain);
        own = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        own.init(store, NO_PASSWORD);
      }
      TrustManagerFactory trusted = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
      if (ca == null) {
        trusted.init((KeyStore) null);
      } else {
        KeyStore store = empty();
        int number = 0;
        for (Certificate each : certificates(ca)) store.setCertificateEntry("ca" + number++, each);
        trusted.init(store);
      }
      context.init(own == null ? null : own.getKeyManagers(), trusted.getTrustManagers(), null);
      return context;
    } catch (GeneralSecurityException | IOException error) {
      throw NeedletailException.invalid("tls: expected usable PEM files, found: %s", error);
    }
  }

  private static KeyStore empty() throws GeneralSecurityException, IOException {
    KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
    store.load(null, NO_PASSWORD);
    return store;
  }

  private static Collection<? extends Certificate> certificates(Path file)
      throws GeneralSecurityException, IOException {
    try (InputStream stream = Files.newInputStream(file)) {
      Collection<? extends Certificate> found = CertificateFactory.getInstance("X.509").generateCertificates(stream);
      if (found.isEmpty())
        throw NeedletailException.invalid("tls: expected certificates (PEM) in %s, found none", file);
      return found;
    }
  }

  private static PrivateKey privateKey(Path file) throws GeneralSecurityException, IOException {
    Matcher found = KEY.matcher(Files.readString(file, StandardCharsets.US_ASCII));
    if (!found.find()) {
      throw NeedletailException.invalid(
          "tls: expected a key in PKCS#8 (BEGIN PRIVATE KEY) in %s; openssl pkcs8 -topk8 -nodes makes one", file);
    }
    PKCS8EncodedKeySpec spec = new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(found.group(1)));
    GeneralSecurityException last = null;
    for (String algorithm : new String[] {"EC", "RSA", "EdDSA"}) {
      try {
        return KeyFactory.getInstance(algorithm).generatePrivate(spec);
      } catch (GeneralSecurityException error) {
        last = error;
      }
    }
    throw last;
  }
}
