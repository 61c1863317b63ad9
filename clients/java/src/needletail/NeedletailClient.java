package needletail;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import needletail.NeedletailException.Code;
import needletail.NeedletailException.Origin;
import needletail.v1.DescribeModelRequest;
import needletail.v1.DescribeModelResponse;
import needletail.v1.FeedbackRequest;
import needletail.v1.HealthRequest;
import needletail.v1.HealthResponse;
import needletail.v1.ListModelsRequest;
import needletail.v1.ListModelsResponse;
import needletail.v1.MetricsRequest;
import needletail.v1.PredictRequest;
import needletail.v1.Priority;
import needletail.v1.Request;
import needletail.v1.Response;
import needletail.v1.ServerInfoRequest;
import needletail.v1.ServerInfoResponse;

/**
 * A client of a Needletail server, with a pool of connections. Any number of threads may share it.
 *
 * <pre>{@code
 * try (NeedletailClient client = NeedletailClient.open("127.0.0.1:6470")) {
 *   Prediction answer = client.predict("diabetes", Inputs.rows(new double[] {59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.86,
 * 87})); answer.prediction(); // [208.17…]
 * }
 * }</pre>
 */
public final class NeedletailClient implements AutoCloseable {
  /** Bytes that id and budget add to a request, at most. */
  private static final int HEAD_BYTES_MAX = 32;
  /** Outcomes that a server takes in one call. */
  private static final int OUTCOMES_MAX = 1024;

  private final Wire.Address address;
  private final ClientOptions options;
  private final ScheduledThreadPoolExecutor timers;
  /** Threads that connect, and those on which the answers of asynchronous calls go on. */
  private final ExecutorService workers;

  private final List<Connection> pool = new ArrayList<>();
  /** Calls that wait for a connection which another call makes. */
  private final Deque<Call> queue = new ArrayDeque<>();
  /** Calls that have not ended. */
  private final Set<Call> active = ConcurrentHashMap.newKeySet();
  private int connecting;
  private double budget;
  private boolean isClosed;

  private NeedletailClient(Wire.Address address, ClientOptions options) {
    this.address = address;
    this.options = options;
    budget = options.budgetBurst;
    ThreadFactory daemons = work -> {
      Thread thread = new Thread(work, "needletail-client");
      thread.setDaemon(true);
      return thread;
    };
    timers = new ScheduledThreadPoolExecutor(1, daemons);
    timers.setRemoveOnCancelPolicy(true);
    workers = Executors.newCachedThreadPool(daemons);
  }

  /** A client for a server at "host:port", "[v6]:port" or "unix:/path". Nothing is connected before the first call. */
  public static NeedletailClient open(String address) {
    return open(address, new ClientOptions());
  }

  /** The same with settings, which are not to be changed afterwards. */
  public static NeedletailClient open(String address, ClientOptions options) {
    Wire.Address parsed = Wire.Address.parse(address);
    if (options.tls != null && parsed.path != null) {
      throw NeedletailException.invalid(
          "tls: expected a TCP address, found a Unix socket, over which calls are not encrypted");
    }
    return new NeedletailClient(parsed, options);
  }

  /** Asks a model. */
  public Prediction predict(String model, Inputs inputs) {
    return predict(model, inputs, new CallOptions());
  }

  /** Asks a model. */
  public Prediction predict(String model, Inputs inputs, CallOptions call) {
    return predictionOf(ask(predictRequest(model, inputs, call), call));
  }

  /** Asks a model without waiting; cancelling the future gives the call up. Its errors are NeedletailExceptions. */
  public CompletableFuture<Prediction> predictAsync(String model, Inputs inputs, CallOptions call) {
    CompletableFuture<Response> answer = begin(predictRequest(model, inputs, call), call);
    CompletableFuture<Prediction> prediction = new CompletableFuture<>();
    prediction.whenComplete((result, error) -> {
      if (prediction.isCancelled())
        answer.cancel(false);
    });
    answer.whenCompleteAsync((response, error) -> {
      try {
        if (error != null)
          prediction.completeExceptionally(error);
        else
          prediction.complete(predictionOf(response));
      } catch (NeedletailException wrong) {
        prediction.completeExceptionally(wrong);
      }
    }, workers);
    return prediction;
  }

  /** Reports what became of predictions, so that the server can say how good a model is. */
  public FeedbackReport feedback(String model, List<Outcome> outcomes) {
    return feedback(model, outcomes, new CallOptions());
  }

  /**
   * The same with a time of its own. More than 1,024 outcomes are several calls, one after the other, each with the
   * time of the options; none are no call. What was counted is not counted again, so that all of it may be repeated,
   * also after an error. UNIMPLEMENTED means that the server remembers nothing of the model.
   *
   * <pre>{@code
   * client.predict("churn", inputs, new CallOptions().key("order-8812"));
   * client.feedback("churn", List.of(Outcome.label("order-8812", "churned"))).joined(); // 1
   * }</pre>
   */
  public FeedbackReport feedback(String model, List<Outcome> outcomes, CallOptions call) {
    List<needletail.v1.Outcome> messages = new ArrayList<>(outcomes.size());
    for (Outcome outcome : outcomes) messages.add(outcome.message(messages.size()));
    FeedbackReport report = new FeedbackReport();
    for (int first = 0; first < messages.size(); first += OUTCOMES_MAX) {
      List<needletail.v1.Outcome> part = messages.subList(first, Math.min(first + OUTCOMES_MAX, messages.size()));
      FeedbackRequest.Builder feedback = FeedbackRequest.newBuilder().setModel(model).addAllOutcomes(part);
      Request request = Request.newBuilder().setFeedback(feedback).build();
      Response answer = ask(request, call);
      report.add(result(answer, Response.ResultCase.FEEDBACK, Response::getFeedback), first, part.size());
    }
    return report;
  }

  /** Whether the server lives and takes traffic, and the state of every model. */
  public HealthResponse health() {
    Request request = Request.newBuilder().setHealth(HealthRequest.getDefaultInstance()).build();
    return result(ask(request, new CallOptions()), Response.ResultCase.HEALTH, Response::getHealth);
  }

  /** The server's metrics as Prometheus text. */
  public String metrics() {
    Request request = Request.newBuilder().setMetrics(MetricsRequest.getDefaultInstance()).build();
    return result(ask(request, new CallOptions()), Response.ResultCase.METRICS, Response::getMetrics).getText();
  }

  /** The models with their versions, and stray files in the store. */
  public ListModelsResponse models() {
    Request request = Request.newBuilder().setListModels(ListModelsRequest.getDefaultInstance()).build();
    return result(ask(request, new CallOptions()), Response.ResultCase.LIST_MODELS, Response::getListModels);
  }

  /** Version, features and limits of the server; UNIMPLEMENTED from one without this call. */
  public ServerInfoResponse serverInfo() {
    Request request = Request.newBuilder().setServerInfo(ServerInfoRequest.getDefaultInstance()).build();
    return result(ask(request, new CallOptions()), Response.ResultCase.SERVER_INFO, Response::getServerInfo);
  }

  /** Inputs, outputs, labels and origin of a model. */
  public DescribeModelResponse describe(String model) {
    return describe(model, new CallOptions());
  }

  /** The same of a version, by number or label. */
  public DescribeModelResponse describe(String model, CallOptions call) {
    call.checkSelector();
    DescribeModelRequest.Builder describe = DescribeModelRequest.newBuilder().setModel(model);
    if (call.version != 0)
      describe.setVersion(call.version);
    else if (!call.label.isEmpty())
      describe.setLabel(call.label);
    Request request = Request.newBuilder().setDescribeModel(describe).build();
    return result(ask(request, call), Response.ResultCase.DESCRIBE_MODEL, Response::getDescribeModel);
  }

  /** Closes the connections. Calls under way fail. */
  @Override
  public void close() {
    List<Connection> connections;
    synchronized (this) {
      isClosed = true;
      connections = new ArrayList<>(pool);
      pool.clear();
      queue.clear();
    }
    connections.forEach(connection -> connection.close("the client is closed"));
    // Those that wait for a connection or their next attempt.
    active.forEach(call -> call.result.completeExceptionally(closed()));
    timers.shutdownNow();
    workers.shutdown();
  }

  private static NeedletailException closed() {
    return NeedletailException.invalid("client: expected an open one, found a closed one");
  }

  private static Request predictRequest(String model, Inputs inputs, CallOptions call) {
    call.checkSelector();
    PredictRequest.Builder predict = PredictRequest.newBuilder()
                                         .setModel(model)
                                         .addAllInputs(inputs.tensors())
                                         .addAllOutputs(call.outputs)
                                         .setRoutingKey(call.routingKey)
                                         .setKey(call.key);
    if (call.version != 0)
      predict.setVersion(call.version);
    else if (!call.label.isEmpty())
      predict.setLabel(call.label);
    if (call.isBulk)
      predict.setPriority(Priority.BULK);
    return Request.newBuilder().setPredict(predict).setTraceparent(call.traceparent).build();
  }

  private static Prediction predictionOf(Response response) {
    return new Prediction(result(response, Response.ResultCase.PREDICT, Response::getPredict));
  }

  private static <Result> Result result(Response response, Response.ResultCase wanted, Function<Response, Result> get) {
    if (response.getResultCase() != wanted) {
      throw NeedletailException.violation("result: expected %s, found %s", wanted, response.getResultCase());
    }
    return get.apply(response);
  }

  /** Makes a call with its repetitions, and waits. */
  private Response ask(Request request, CallOptions options) {
    CompletableFuture<Response> answer = begin(request, options);
    try {
      return answer.get();
    } catch (ExecutionException error) {
      if (error.getCause() instanceof NeedletailException) {
        NeedletailException cause = (NeedletailException) error.getCause();
        throw cause.forCall(cause.isSent()); // With the stack of who asked.
      }
      throw new IllegalStateException(error.getCause());
    } catch (InterruptedException error) {
      answer.cancel(false);
      Thread.currentThread().interrupt();
      throw new CancellationException("the thread was interrupted while it waited for an answer");
    }
  }

  private CompletableFuture<Response> begin(Request request, CallOptions call) {
    byte[] body = request.toByteArray();
    int most = options.requestBytesMax - HEAD_BYTES_MAX;
    if (body.length > most) {
      throw NeedletailException.invalid(
          "request: expected at most %d bytes (requestBytesMax), found %d; send fewer rows at once", most, body.length);
    }
    synchronized (this) {
      if (isClosed)
        throw closed();
      budget = Math.min(options.budgetBurst, budget + options.budgetRatio);
    }
    java.time.Duration timeout = call.hasTimeout ? call.timeout : options.timeout;
    Call begun = new Call(body, timeout == null ? null : System.nanoTime() + timeout.toNanos());
    active.add(begun);
    begun.begin();
    return begun.result;
  }

  /** A call with its repetitions. */
  private final class Call extends Connection.Attempt {
    final CompletableFuture<Response> result = new CompletableFuture<>();
    private final byte[] body;
    private final Long deadline;
    private int failed;
    private volatile Connection connection;

    Call(byte[] body, Long deadline) {
      this.body = body;
      this.deadline = deadline;
      ScheduledFuture<?> timer =
          deadline == null ? null : timers.schedule(this::expire, deadline - System.nanoTime(), TimeUnit.NANOSECONDS);
      result.whenComplete((response, error) -> {
        active.remove(this);
        if (timer != null)
          timer.cancel(false);
        // An answer or an error came from there; time that is over, or who cancels, did not.
        Connection over = connection;
        if (over != null && error != null)
          over.abandon(this, !result.isCancelled());
      });
    }

    @Override
    byte[] body() {
      return body;
    }

    @Override
    Long deadline() {
      return deadline;
    }

    /** Finds a connection, or makes one, or waits for one. */
    void begin() {
      Connection best = null;
      boolean mustConnect = false;
      synchronized (NeedletailClient.this) {
        if (result.isDone())
          return;
        if (!isClosed) {
          pool.removeIf(each -> !each.isUsable());
          int least = Integer.MAX_VALUE;
          for (Connection each : pool) {
            int load = each.waiting();
            if (load < least) {
              best = each;
              least = load;
            }
          }
          boolean hasRoom = pool.size() + connecting < options.connections;
          if (best != null && least >= options.callsPerConnection && hasRoom)
            best = null;
          if (best == null && hasRoom) {
            mustConnect = true;
            connecting++;
          } else if (best == null) {
            queue.add(this);
            return;
          }
        }
      }
      if (mustConnect)
        workers.execute(this::connect);
      else if (best != null)
        sendOver(best);
      else
        fail(closed());
    }

    private void sendOver(Connection chosen) {
      connection = chosen;
      chosen.send(this);
      // The time may have been over before the connection knew the call.
      if (result.isDone())
        chosen.abandon(this, false);
    }

    private void connect() {
      Connection made = null;
      NeedletailException problem = null;
      try {
        made = Connection.open(address, options, deadline == null ? 0 : deadline, deadline != null);
      } catch (NeedletailException error) {
        problem = error;
      } catch (RuntimeException error) {
        problem = NeedletailException.of(Code.UNAVAILABLE, Origin.CONNECTION_FAILED, "could not connect: " + error);
      }
      List<Call> others;
      synchronized (NeedletailClient.this) {
        connecting--;
        if (made != null && isClosed) {
          made.close("the client is closed");
        } else if (made != null) {
          pool.add(made);
        }
        others = new ArrayList<>(queue);
        queue.clear();
      }
      if (made != null)
        sendOver(made);
      else
        fail(problem);
      others.forEach(Call::begin);
    }

    private void expire() {
      boolean isConnecting = connection == null;
      result.completeExceptionally(NeedletailException.late(
          isConnecting ? "the time was over while connecting" : "no answer within the time given"));
    }

    @Override
    void answer(Response response) {
      if (response.getStatus().getCodeValue() == 0)
        result.complete(response);
      else
        fail(NeedletailException.of(response.getStatus()));
    }

    @Override
    void fail(NeedletailException error) {
      connection = null;
      long pause = pauseAfter(error);
      if (pause < 0) {
        result.completeExceptionally(error);
        return;
      }
      try {
        timers.schedule(() -> workers.execute(this::begin), pause, TimeUnit.NANOSECONDS);
      } catch (java.util.concurrent.RejectedExecutionException closed) {
        result.completeExceptionally(error);
      }
    }

    /** Nanoseconds before the next attempt; below 0: there is none. */
    private long pauseAfter(NeedletailException error) {
      failed++;
      boolean isLost = error.origin() == Origin.CONNECTION_LOST && error.isSent();
      if (failed >= options.attempts || (error.code() != Code.OVERLOADED && error.code() != Code.UNAVAILABLE)
          || (isLost && !options.retriesLost) || result.isDone()) {
        return -1;
      }
      double ceiling =
          Math.min(options.backoffMax.toNanos(), Math.scalb((double) options.backoff.toNanos(), failed - 1));
      long wait = error.retryAfter().toNanos() + (long) (ThreadLocalRandom.current().nextDouble() * ceiling);
      synchronized (NeedletailClient.this) {
        // The deadline first: a retry that cannot happen must not cost the budget.
        boolean isLate = deadline != null && deadline - System.nanoTime() <= wait;
        if (isLate || budget < 1 || isClosed)
          return -1;
        budget -= 1;
        return wait;
      }
    }
  }
}
