package needletail;

import com.google.protobuf.InvalidProtocolBufferException;
import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import javax.net.ssl.SSLException;
import needletail.NeedletailException.Code;
import needletail.NeedletailException.Origin;
import needletail.v1.AuthenticateRequest;
import needletail.v1.Request;
import needletail.v1.Response;

/** A connection with any number of calls in flight. One thread reads and one writes, so that neither waits. */
final class Connection {
  /** A connection that was silent for so long under a call that ran out of time is taken for dead. */
  private static final long SILENCE_NANOS_MAX = TimeUnit.SECONDS.toNanos(1);
  /** Answers of calls that were given up may a connection owe. */
  private static final int ABANDONED_MAX = 4096;
  private static final NeedletailException STOPPING =
      NeedletailException.of(Code.UNAVAILABLE, Origin.SERVER, "the server is stopping");
  private static final int CHUNK_BYTES = 64 << 10;

  /** A call, which is on one connection at a time. */
  abstract static class Attempt {
    /** Its last one, on whichever connection. */
    private volatile Frame frame;

    /** A Request without id and budget. */
    abstract byte[] body();

    /** A time of System.nanoTime(); null: no deadline. */
    abstract Long deadline();

    abstract void answer(Response response);

    abstract void fail(NeedletailException error);
  }

  private final Wire wire;
  private final int answerBytesMax;
  private final LinkedBlockingQueue<Frame> writes = new LinkedBlockingQueue<>();
  /** Ends the thread that writes. */
  private final Frame last = new Frame(0, null, new byte[0]);

  private NeedletailException failure;
  /** No new call: the server stops, or refused a frame. */
  private boolean isDraining;
  private long nextId = 1;
  /** By id; null: nobody waits for the answer. */
  private final Map<Long, Frame> calls = new HashMap<>();
  private int waiting;
  private long silentSince = System.nanoTime();

  /** Connects, encrypts and shows the key, as the options say. */
  static Connection open(Wire.Address address, ClientOptions options, long callDeadline, boolean hasDeadline) {
    long deadline = System.nanoTime() + options.connectTimeout.toNanos();
    if (hasDeadline && callDeadline - deadline < 0)
      deadline = callDeadline;
    Connection connection = new Connection(Wire.open(address, options, deadline), options.answerBytesMax);
    start("needletail-read", connection::read);
    start("needletail-write", connection::write);
    if (options.apiKey.isEmpty())
      return connection;
    byte[] body = Request.newBuilder()
                      .setAuthenticate(AuthenticateRequest.newBuilder().setApiKey(options.apiKey))
                      .build()
                      .toByteArray();
    Waiting waiting = new Waiting(body, deadline);
    connection.send(waiting);
    try {
      Response response = waiting.future.get(Math.max(0, deadline - System.nanoTime()), TimeUnit.NANOSECONDS);
      if (response.getStatus().getCodeValue() != 0)
        throw NeedletailException.of(response.getStatus());
      return connection;
    } catch (ExecutionException error) {
      throw (NeedletailException) error.getCause();
    } catch (TimeoutException | InterruptedException error) {
      String why = "the server did not look at the key within the time given";
      throw NeedletailException.of(Code.UNAVAILABLE, Origin.CONNECTION_FAILED, why);
    } finally {
      if (!waiting.future.isDone() || waiting.isRefused())
        connection.close("the connection did not begin");
    }
  }

  /** An attempt that a thread waits for. */
  private static final class Waiting extends Attempt {
    final CompletableFuture<Response> future = new CompletableFuture<>();
    private final byte[] body;
    private final long deadline;

    Waiting(byte[] body, long deadline) {
      this.body = body;
      this.deadline = deadline;
    }

    boolean isRefused() {
      return future.isCompletedExceptionally() || future.join().getStatus().getCodeValue() != 0;
    }

    @Override
    byte[] body() {
      return body;
    }

    @Override
    Long deadline() {
      return deadline;
    }

    @Override
    void answer(Response response) {
      future.complete(response);
    }

    @Override
    void fail(NeedletailException error) {
      future.completeExceptionally(error);
    }
  }

  private Connection(Wire wire, int answerBytesMax) {
    this.wire = wire;
    this.answerBytesMax = answerBytesMax;
  }

  private static void start(String name, Runnable work) {
    Thread thread = new Thread(work, name);
    thread.setDaemon(true);
    thread.start();
  }

  synchronized boolean isUsable() {
    return failure == null && !isDraining;
  }

  /** Calls that wait for their answer. */
  synchronized int waiting() {
    return waiting;
  }

  /** Begins an attempt, which ends by its `answer` or `fail`, unless it is abandoned. */
  void send(Attempt attempt) {
    NeedletailException refusal;
    synchronized (this) {
      refusal = failure != null ? failure : isDraining ? STOPPING : null;
      if (refusal == null) {
        Frame frame = Frame.of(nextId++, attempt);
        attempt.frame = frame;
        if (calls.isEmpty())
          silentSince = System.nanoTime();
        calls.put(frame.id, frame);
        waiting++;
        writes.add(frame);
        return;
      }
    }
    attempt.fail(refusal.forCall(false));
  }

  /** Ends the wait for a call. Its answer is thrown away when it comes. */
  void abandon(Attempt attempt, boolean isLate) {
    boolean isSilent;
    Frame frame = attempt.frame;
    synchronized (this) {
      if (frame == null || calls.get(frame.id) != frame)
        return;
      calls.put(frame.id, null);
      waiting--;
      isSilent = isLate && System.nanoTime() - silentSince >= SILENCE_NANOS_MAX;
      isSilent |= calls.size() - waiting > ABANDONED_MAX;
      isSilent |= isDraining && waiting == 0;
    }
    if (isSilent)
      close("the server was silent for a second or more");
  }

  void close(String why) {
    die(NeedletailException.lost(why));
  }

  /** Ends the connection, and every call that waits on it. */
  private void die(NeedletailException error) {
    List<Runnable> ends;
    synchronized (this) {
      if (failure != null)
        return;
      failure = error;
      ends = endAbove(0, error);
    }
    wire.close();
    writes.add(last);
    ends.forEach(Runnable::run);
  }

  /** Takes calls above an id out; what is returned tells them, and is run without the lock. */
  private List<Runnable> endAbove(long lastId, NeedletailException error) {
    List<Runnable> ends = new ArrayList<>();
    for (Map.Entry<Long, Frame> entry : calls.entrySet()) {
      Frame frame = entry.getValue();
      if (frame == null || Long.compareUnsigned(entry.getKey(), lastId) <= 0)
        continue;
      entry.setValue(null);
      waiting--;
      boolean isSent = frame.isSent;
      ends.add(() -> frame.attempt.fail(error.forCall(isSent)));
    }
    return ends;
  }

  private void write() {
    ByteArrayOutputStream buffer = new ByteArrayOutputStream(CHUNK_BYTES);
    try {
      for (Frame next = writes.take(); next != last; next = writes.take()) {
        buffer.reset();
        // What waits leaves in one piece.
        for (; next != null && next != last; next = buffer.size() < CHUNK_BYTES ? writes.poll() : null) {
          if (!isWanted(next))
            continue;
          buffer.write(next.bytes, 0, next.bytes.length);
          next.bytes = null;
        }
        if (buffer.size() > 0)
          wire.write(buffer.toByteArray(), buffer.size());
        if (next == last)
          return;
      }
    } catch (IOException error) {
      // A server that refuses a frame says why before it closes: the reader finds it, or the end.
      synchronized (this) {
        isDraining = true;
      }
    } catch (InterruptedException error) {
      close("the thread that writes was interrupted");
    }
  }

  /**
   * Whether somebody waits for a call, which counts as sent from here on. One that was given up is not sent at all.
   *
   * A server may read a request, and close, before the write of it has returned here: the thread that reads would
   * then end a call that the server has run, and call it one that was not sent.
   */
  private synchronized boolean isWanted(Frame frame) {
    if (calls.get(frame.id) == frame) {
      frame.isSent = true;
      return true;
    }
    calls.remove(frame.id);
    return false;
  }

  private final byte[] chunk = new byte[CHUNK_BYTES];
  private int chunkStart;
  private int chunkEnd;

  private void read() {
    try {
      byte[] head = new byte[4];
      for (;;) {
        readInto(head, 4);
        long length = 0;
        for (byte each : head) length = length << 8 | (each & 0xff);
        if (length < 1 || length > answerBytesMax) {
          throw NeedletailException.violation("frame length: expected 1 to %d bytes (answerBytesMax), found %d; is "
                  + "this the port of a Needletail server?",
              answerBytesMax, length);
        }
        take(Response.parseFrom(readGrowing((int) length)));
      }
    } catch (InvalidProtocolBufferException error) {
      die(NeedletailException.violation("response: expected a needletail.v1.Response, found: %s", error.getMessage()));
    } catch (IOException error) {
      die(lost(error));
    } catch (NeedletailException error) {
      die(error);
    } catch (RuntimeException | OutOfMemoryError error) {
      die(NeedletailException.violation("response: expected one that can be read, found: %s", error));
    }
  }

  private void readInto(byte[] into, int count) throws IOException {
    for (int done = 0; done < count;) {
      if (chunkStart == chunkEnd) {
        chunkStart = 0;
        chunkEnd = Math.max(0, wire.read(chunk));
        if (chunkEnd == 0)
          throw new EOFException("the server closed the connection before the answer");
        synchronized (this) {
          silentSince = System.nanoTime();
        }
      }
      int piece = Math.min(count - done, chunkEnd - chunkStart);
      System.arraycopy(chunk, chunkStart, into, done, piece);
      chunkStart += piece;
      done += piece;
    }
  }

  /** Takes memory for what arrives, not for what a length promises. */
  private byte[] readGrowing(int length) throws IOException {
    byte[] payload = new byte[Math.min(length, CHUNK_BYTES)];
    readInto(payload, payload.length);
    while (payload.length < length) {
      byte[] more = new byte[Math.min(length - payload.length, payload.length)];
      readInto(more, more.length);
      byte[] joined = java.util.Arrays.copyOf(payload, payload.length + more.length);
      System.arraycopy(more, 0, joined, payload.length, more.length);
      payload = joined;
    }
    return payload;
  }

  private void take(Response response) {
    List<Runnable> ends = new ArrayList<>();
    synchronized (this) {
      if (response.getId() == 0) {
        ends.addAll(takeUnsolicited(response));
      } else if (!calls.containsKey(response.getId())) {
        throw NeedletailException.violation(
            "id: expected that of a call in flight, found %s", Long.toUnsignedString(response.getId()));
      } else {
        Frame frame = calls.remove(response.getId());
        if (frame != null) {
          waiting--;
          ends.add(() -> frame.attempt.answer(response));
        }
      }
      // It takes no call and owes no answer.
      if (isDraining && waiting == 0)
        ends.add(0, () -> die(STOPPING));
    }
    ends.forEach(Runnable::run);
  }

  /** An answer without a call: a GoAway, or a frame that the server could not read. */
  private List<Runnable> takeUnsolicited(Response response) {
    isDraining = true;
    if (response.getStatus().getCodeValue() != 0) {
      NeedletailException error = NeedletailException.of(response.getStatus());
      if (waiting > 1)
        throw NeedletailException.lost("the server refused a frame: " + error.getMessage());
      return endAbove(0, error);
    }
    if (!response.hasGoAway()) {
      throw NeedletailException.violation("id: expected that of a call, found 0 on something other than GoAway");
    }
    String why = "the server is stopping and did not execute the call";
    return endAbove(response.getGoAway().getLastId(), NeedletailException.of(Code.UNAVAILABLE, Origin.SERVER, why));
  }

  private static NeedletailException lost(IOException error) {
    String message = String.valueOf(error.getMessage());
    // With TLS 1.3 a server looks at the client's certificate when the handshake is over for its client.
    boolean isAlert = error instanceof SSLException && message.contains("fatal alert");
    return new NeedletailException(isAlert ? Code.UNAUTHENTICATED : Code.UNAVAILABLE,
        isAlert ? Origin.CONNECTION_FAILED : Origin.CONNECTION_LOST,
        (isAlert ? "the server refused the connection: " : "the connection broke before the answer: ") + message,
        Duration.ZERO, false, error);
  }
}
