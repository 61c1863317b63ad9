package needletail;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ProtocolFamily;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.SocketTimeoutException;
import java.net.StandardProtocolFamily;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import needletail.NeedletailException.Code;
import needletail.NeedletailException.Origin;

/** Bytes to and from a server; one thread reads while another writes. */
abstract class Wire {
  /** Bytes that came, at least one; -1 at the end. */
  abstract int read(byte[] into) throws IOException;

  abstract void write(byte[] bytes, int count) throws IOException;

  /** Ends it, also for those who read and write at the moment. */
  abstract void close();

  /** Where a server listens: a host and a port, or a path. */
  static final class Address {
    final String text;
    final String host;
    final int port;
    final String path;

    private Address(String text, String host, int port, String path) {
      this.text = text;
      this.host = host;
      this.port = port;
      this.path = path;
    }

    static Address parse(String text) {
      if (text.startsWith("unix:")) {
        if (text.length() == 5) {
          throw NeedletailException.invalid("address: expected a path after 'unix:', found '%s'", text);
        }
        return new Address(text, null, 0, text.substring(5));
      }
      int colon = text.lastIndexOf(':');
      String host = colon < 0 ? "" : text.substring(0, colon);
      String digits = text.substring(colon + 1);
      boolean isBracketed = host.length() > 2 && host.startsWith("[") && host.endsWith("]");
      int port = digits.matches("[0-9]{1,5}") ? Integer.parseInt(digits) : 0;
      if (host.isEmpty() || port < 1 || port > 65_535 || (!isBracketed && host.indexOf(':') >= 0)) {
        throw NeedletailException.invalid(
            "address: expected 'host:port', '[v6]:port' or 'unix:/path', found '%s'", text);
      }
      return new Address(text, isBracketed ? host.substring(1, host.length() - 1) : host, port, null);
    }
  }

  /** Connects, and encrypts if the options say so, until a time of System.nanoTime(). */
  static Wire open(Address address, ClientOptions options, long deadline) {
    Socket socket = null;
    try {
      if (address.path != null)
        return new Local(address.path);
      socket = connect(address, deadline);
      socket.setTcpNoDelay(true);
      socket.setKeepAlive(true);
      return options.tls == null ? new Remote(socket, socket) : encrypt(socket, address, options, deadline);
    } catch (IOException error) {
      closeQuietly(socket);
      String why =
          error instanceof UnknownHostException ? "the name has no address" : String.valueOf(error.getMessage());
      String what = error instanceof SSLException ? "could not agree on TLS with " : "could not connect to ";
      throw new NeedletailException(Code.UNAVAILABLE, Origin.CONNECTION_FAILED, what + address.text + ": " + why,
          java.time.Duration.ZERO, false, error);
    }
  }

  /** The addresses of a name one after the other, each with its share of the time that is left. */
  private static Socket connect(Address address, long deadline) throws IOException {
    InetAddress[] found = InetAddress.getAllByName(address.host);
    IOException first = null;
    for (int place = 0; place < found.length; place++) {
      Socket socket = new Socket();
      try {
        socket.connect(
            new InetSocketAddress(found[place], address.port), millis(deadline) / (found.length - place) + 1);
        return socket;
      } catch (IOException error) {
        socket.close();
        if (first == null)
          first = error;
      }
    }
    throw first;
  }

  private static Wire encrypt(Socket plain, Address address, ClientOptions options, long deadline) throws IOException {
    String name = options.serverName == null ? address.host : options.serverName;
    SSLSocket encrypted = (SSLSocket) options.tls.getSocketFactory().createSocket(plain, name, address.port, true);
    SSLParameters parameters = encrypted.getSSLParameters();
    parameters.setEndpointIdentificationAlgorithm("HTTPS");
    parameters.setProtocols(new String[] {"TLSv1.3", "TLSv1.2"});
    encrypted.setSSLParameters(parameters);
    plain.setSoTimeout(millis(deadline));
    try {
      encrypted.startHandshake();
    } catch (SocketTimeoutException error) {
      throw new SSLException("no answer within the time given", error);
    }
    plain.setSoTimeout(0);
    return new Remote(encrypted, plain);
  }

  private static int millis(long deadline) throws SocketTimeoutException {
    long left = TimeUnit.NANOSECONDS.toMillis(deadline - System.nanoTime());
    if (left <= 0)
      throw new SocketTimeoutException("the time was over");
    return (int) Math.min(left, Integer.MAX_VALUE - 1);
  }

  private static void closeQuietly(java.io.Closeable opened) {
    try {
      if (opened != null)
        opened.close();
    } catch (IOException ignored) {
      // It is closed all the same.
    }
  }

  /** TCP, encrypted or not. */
  private static final class Remote extends Wire {
    private final Socket plain;
    private final InputStream input;
    private final OutputStream output;

    Remote(Socket socket, Socket plain) throws IOException {
      this.plain = plain;
      input = socket.getInputStream();
      output = socket.getOutputStream();
    }

    @Override
    int read(byte[] into) throws IOException {
      return input.read(into);
    }

    @Override
    void write(byte[] bytes, int count) throws IOException {
      output.write(bytes, 0, count);
    }

    @Override
    void close() {
      // Not the SSLSocket, whose close() waits for a thread that writes.
      closeQuietly(plain);
    }
  }

  /** A Unix socket, which Java has since version 16: an older one says so. */
  private static final class Local extends Wire {
    private final SocketChannel channel;

    Local(String path) throws IOException {
      SocketChannel opened = null;
      try {
        ProtocolFamily family = StandardProtocolFamily.valueOf("UNIX");
        opened = (SocketChannel) SocketChannel.class.getMethod("open", ProtocolFamily.class).invoke(null, family);
        Class<?> type = Class.forName("java.net.UnixDomainSocketAddress");
        opened.connect((SocketAddress) type.getMethod("of", String.class).invoke(null, path));
      } catch (ReflectiveOperationException | IllegalArgumentException error) {
        closeQuietly(opened);
        throw new IOException("Unix sockets need Java 16, found " + System.getProperty("java.version"), error);
      } catch (IOException error) {
        closeQuietly(opened);
        throw error;
      }
      channel = opened;
    }

    @Override
    int read(byte[] into) throws IOException {
      return channel.read(ByteBuffer.wrap(into));
    }

    @Override
    void write(byte[] bytes, int count) throws IOException {
      for (ByteBuffer buffer = ByteBuffer.wrap(bytes, 0, count); buffer.hasRemaining();) channel.write(buffer);
    }

    @Override
    void close() {
      closeQuietly(channel);
    }
  }
}
