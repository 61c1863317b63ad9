package needletail;

import java.time.Duration;
import javax.net.ssl.SSLContext;

/** A client's settings. Each method sets one and returns the same object. */
public final class ClientOptions {
  private static final int FRAME_BYTES_CAP = 64 << 20;

  String apiKey = "";
  /** Null: no deadline. */
  Duration timeout = Duration.ofSeconds(5);
  Duration connectTimeout = Duration.ofSeconds(1);
  int connections = 4;
  int callsPerConnection = 64;
  int requestBytesMax = 16 << 20;
  int answerBytesMax = FRAME_BYTES_CAP;
  int attempts = 4;
  Duration backoff = Duration.ofMillis(10);
  Duration backoffMax = Duration.ofSeconds(1);
  double budgetRatio = 0.1;
  double budgetBurst = 10;
  boolean retriesLost = true;
  /** Null: calls are not encrypted. */
  SSLContext tls;
  /** Null: the host of the address. */
  String serverName;

  /** A key that is shown on every connection. */
  public ClientOptions apiKey(String key) {
    if (key == null || key.isBlank())
      throw NeedletailException.invalid("apiKey: expected a key, found an empty text");
    apiKey = key.strip();
    return this;
  }

  /** Time of a call with all its retries, where the call says nothing; 5 s. Null: no deadline. */
  public ClientOptions timeout(Duration time) {
    timeout = time == null ? null : positive("timeout", time);
    return this;
  }

  /** Time for one connection, TLS and key included; 1 s. */
  public ClientOptions connectTimeout(Duration time) {
    connectTimeout = positive("connectTimeout", time);
    return this;
  }

  /** How many connections there may be; 4. */
  public ClientOptions connections(int count) {
    connections = within("connections", count, 1, 65_536);
    return this;
  }

  /** Calls in flight on one connection before another is made; 64. */
  public ClientOptions callsPerConnection(int count) {
    callsPerConnection = within("callsPerConnection", count, 1, 4096);
    return this;
  }

  /** The server's limits.frame_bytes_max; 16 MiB. */
  public ClientOptions requestBytesMax(int bytes) {
    requestBytesMax = within("requestBytesMax", bytes, 1024, FRAME_BYTES_CAP);
    return this;
  }

  /** The longest answer; 64 MiB, the most that a server sends. */
  public ClientOptions answerBytesMax(int bytes) {
    answerBytesMax = within("answerBytesMax", bytes, 1, FRAME_BYTES_CAP);
    return this;
  }

  /** Attempts of one call, the first included; 4. 1: never retry. */
  public ClientOptions attempts(int count) {
    attempts = within("attempts", count, 1, Integer.MAX_VALUE);
    return this;
  }

  /** The upper end of the first random wait, 10 ms, which doubles with each retry, up to the second, 1 s. */
  public ClientOptions backoff(Duration first, Duration most) {
    if (first.isNegative() || first.compareTo(most) > 0) {
      throw NeedletailException.invalid("backoff: expected from 0 up to %s, found %s", most, first);
    }
    backoff = first;
    backoffMax = most;
    return this;
  }

  /** Retries that each call earns, a tenth, and how many may be saved up, 10, as a new client has. */
  public ClientOptions retryBudget(double ratio, double burst) {
    if (!(ratio >= 0) || !(burst >= 0)) {
      throw NeedletailException.invalid("retryBudget: expected no negative numbers, found %s and %s", ratio, burst);
    }
    budgetRatio = ratio;
    budgetBurst = burst;
    return this;
  }

  /** Whether a call is repeated whose connection broke after it was sent; true, because that changes nothing. */
  public ClientOptions retriesLost(boolean choice) {
    retriesLost = choice;
    return this;
  }

  /** Encrypts. Certificates from PEM files: {@link Tls#context}. */
  public ClientOptions tls(SSLContext context) {
    tls = context;
    return this;
  }

  /** The name that the server's certificate must carry, where it is not the host of the address. */
  public ClientOptions serverName(String name) {
    serverName = name;
    return this;
  }

  private static Duration positive(String name, Duration time) {
    if (time.isNegative() || time.isZero()) {
      throw NeedletailException.invalid("%s: expected a time above 0, found %s", name, time);
    }
    return time;
  }

  private static int within(String name, int value, int least, int most) {
    if (value < least || value > most) {
      throw NeedletailException.invalid("%s: expected %d to %d, found %d", name, least, most, value);
    }
    return value;
  }
}
