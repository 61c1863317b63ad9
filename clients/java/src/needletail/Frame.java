package needletail;

import java.util.concurrent.TimeUnit;
import needletail.v1.Request;

/** What one attempt of a call sends over a connection. */
final class Frame {
  final long id;
  final Connection.Attempt attempt;
  /** Null once it was handed on. */
  byte[] bytes;
  /** Whether bytes of it may have reached the server. Under the connection's lock. */
  boolean isSent;

  Frame(long id, Connection.Attempt attempt, byte[] bytes) {
    this.id = id;
    this.attempt = attempt;
    this.bytes = bytes;
  }

  /** The frame of a call under an id, with what is left of its time. */
  static Frame of(long id, Connection.Attempt attempt) {
    Request.Builder head = Request.newBuilder().setId(id);
    if (attempt.deadline() != null) {
      // Less than a microsecond is sent as one, for 0 would be no deadline; the field is unsigned.
      long left = TimeUnit.NANOSECONDS.toMicros(attempt.deadline() - System.nanoTime());
      head.setTimeoutUs((int) Math.min(Math.max(left, 1), 0xffffffffL));
    }
    // Joined protobuf messages are one merged message: only the head differs between attempts.
    byte[] small = head.build().toByteArray();
    byte[] body = attempt.body();
    int length = small.length + body.length;
    byte[] frame = new byte[4 + length];
    for (int place = 0; place < 4; place++) frame[place] = (byte) (length >> (24 - 8 * place));
    System.arraycopy(small, 0, frame, 4, small.length);
    System.arraycopy(body, 0, frame, 4 + small.length, body.length);
    return new Frame(id, attempt, frame);
  }
}
