package needletail;

import java.time.Duration;
import java.util.List;

/** What a call may say besides its model and inputs. Each method sets one thing and returns the same object. */
public final class CallOptions {
  long version;
  String label = "";
  List<String> outputs = List.of();
  String routingKey = "";
  boolean isBulk;
  String key = "";
  String traceparent = "";
  /** Null: no deadline, if the call says so, else the client's. */
  Duration timeout;
  boolean hasTimeout;

  /** Asks this version, instead of the one that is served. */
  public CallOptions version(long number) {
    version = number;
    return this;
  }

  /** Asks the version with this label, such as "canary". */
  public CallOptions label(String name) {
    label = name;
    return this;
  }

  /** Names of the outputs wanted; none: all of them. */
  public CallOptions outputs(String... names) {
    outputs = List.of(names);
    return this;
  }

  /** Calls with the same key see the same version of a split rollout. */
  public CallOptions routingKey(String key) {
    routingKey = key;
    return this;
  }

  /** Nobody waits for the answer, and others may go first. */
  public CallOptions bulk() {
    isBulk = true;
    return this;
  }

  /**
   * Names the call, so that {@link NeedletailClient#feedback} finds its rows later; without it the routing key does.
   */
  public CallOptions key(String name) {
    key = name;
    return this;
  }

  /** The trace that the call belongs to, as W3C Trace Context writes it. */
  public CallOptions traceparent(String text) {
    traceparent = text;
    return this;
  }

  /** Time of the call with all its retries; null: no deadline. */
  public CallOptions timeout(Duration time) {
    if (time != null && (time.isNegative() || time.isZero())) {
      throw NeedletailException.invalid("timeout: expected a time above 0, found %s", time);
    }
    timeout = time;
    hasTimeout = true;
    return this;
  }

  void checkSelector() {
    if (version != 0 && !label.isEmpty()) {
      throw NeedletailException.invalid(
          "selector: expected a version or a label, found both (%d and \"%s\")", version, label);
    }
  }
}
