// Conformance driver of the Java client: requests as JSON, one a line; answers one line each.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Array;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.atomic.AtomicInteger;
import needletail.CallOptions;
import needletail.ClientOptions;
import needletail.FeedbackReport;
import needletail.Inputs;
import needletail.NeedletailClient;
import needletail.NeedletailException;
import needletail.Outcome;
import needletail.Output;
import needletail.Prediction;
import needletail.Tls;
import needletail.v1.DataType;
import needletail.v1.DescribeModelResponse;
import needletail.v1.ErrorDetail;
import needletail.v1.ExceededLimit;
import needletail.v1.HealthResponse;
import needletail.v1.ModelStatus;
import needletail.v1.ServerInfoResponse;
import needletail.v1.ServerLimits;
import needletail.v1.TensorSpec;
import needletail.v1.VersionStatus;

public final class Driver {
  private static final Map<String, NeedletailClient> clients = new HashMap<>();
  private static final Map<String, CompletableFuture<Prediction>> calls = new HashMap<>();

  private Driver() {}

  public static void main(String[] arguments) throws IOException {
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream output = new PrintStream(System.out, true, "UTF-8");
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      StringBuilder text = new StringBuilder();
      print(answer(new Json(line).object()), text);
      output.println(text);
    }
  }

  private static Map<String, Object> answer(Map<String, Object> request) {
    NeedletailClient client = clients.get(request.get("client"));
    String ticket = (String) request.get("call");
    try {
      switch ((String) request.get("do")) {
        case "lacks":
          return Map.of("lacks", List.of());
        case "open":
          clients.put((String) request.get("client"), open(request));
          return ok();
        case "close":
          client.close();
          return ok();
        case "start":
          calls.put(ticket, client.predictAsync((String) request.get("model"), inputs(request), options(request)));
          return ok();
        case "finish":
          return prediction(calls.remove(ticket).join());
        case "cancel":
          calls.remove(ticket).cancel(true);
          return ok();
        default:
          return ask(client, request);
      }
    } catch (NeedletailException error) {
      return problem(error);
    } catch (CompletionException error) {
      return problem((NeedletailException) error.getCause());
    } catch (CancellationException error) {
      return Map.of("error", Map.of("code", "CANCELLED", "message", String.valueOf(error.getMessage())));
    }
  }

  private static Map<String, Object> ok() {
    Map<String, Object> answer = new LinkedHashMap<>();
    answer.put("ok", true);
    return answer;
  }

  private static Map<String, Object> problem(NeedletailException error) {
    String[] causes = {"status", "caller", "connect", "lost", "time", "protocol"};
    Map<String, Object> found = new LinkedHashMap<>();
    found.put("code", error.code().name());
    found.put("cause", causes[error.origin().ordinal()]);
    found.put("message", error.getMessage());
    found.put("retry_after_us", error.retryAfter().toNanos() / 1000);
    ErrorDetail detail = error.detail() == null ? ErrorDetail.getDefaultInstance() : error.detail();
    found.put("field", detail.getField());
    if (detail.hasRow())
      found.put("row", new Unsigned(detail.getRow()));
    if (detail.hasLimit()) {
      ExceededLimit limit = detail.getLimit();
      found.put("limit",
          Map.of("name", limit.getName(), "maximum", new Unsigned(limit.getMaximum()), "found",
              new Unsigned(limit.getFound())));
    }
    return Map.of("error", found);
  }

  private static NeedletailClient open(Map<String, Object> request) {
    ClientOptions options = new ClientOptions();
    if (request.containsKey("api_key"))
      options.apiKey((String) request.get("api_key"));
    if (request.containsKey("timeout_ms"))
      options.timeout(millis(request.get("timeout_ms")));
    if (request.containsKey("attempts"))
      options.attempts(number(request, "attempts", 4).intValue());
    options.retryBudget(
        number(request, "budget_ratio", 0.1).doubleValue(), number(request, "budget_burst", 10).doubleValue());
    options.retriesLost(!Boolean.FALSE.equals(request.get("retry_lost")));
    options.requestBytesMax(number(request, "request_bytes_max", 16 << 20).intValue());
    options.answerBytesMax(number(request, "answer_bytes_max", 64 << 20).intValue());
    if (request.containsKey("ca")) {
      options.tls(Tls.context(path(request, "ca"), path(request, "certificate"), path(request, "key")));
      options.serverName((String) request.get("server_name"));
    }
    return NeedletailClient.open((String) request.get("address"), options);
  }

  private static Path path(Map<String, Object> request, String name) {
    return request.containsKey(name) ? Path.of((String) request.get(name)) : null;
  }

  private static Number number(Map<String, Object> request, String name, Number otherwise) {
    return (Number) request.getOrDefault(name, otherwise);
  }

  private static Duration millis(Object value) {
    return value == null ? null : Duration.ofNanos((long) (((Number) value).doubleValue() * 1e6));
  }

  @SuppressWarnings("unchecked")
  private static CallOptions options(Map<String, Object> request) {
    CallOptions options = new CallOptions();
    if (request.containsKey("timeout_ms"))
      options.timeout(millis(request.get("timeout_ms")));
    if (request.containsKey("version"))
      options.version(((Number) request.get("version")).longValue());
    if (request.containsKey("label"))
      options.label((String) request.get("label"));
    if (request.containsKey("routing_key"))
      options.routingKey((String) request.get("routing_key"));
    if (request.containsKey("key"))
      options.key((String) request.get("key"));
    if (request.containsKey("traceparent"))
      options.traceparent((String) request.get("traceparent"));
    if (Boolean.TRUE.equals(request.get("bulk")))
      options.bulk();
    if (request.containsKey("outputs")) {
      options.outputs(((List<Object>) request.get("outputs")).toArray(new String[0]));
    }
    return options;
  }

  // -------------------------------------------------------------- inputs and answers

  @SuppressWarnings("unchecked")
  private static Inputs inputs(Map<String, Object> request) {
    Inputs columns = Inputs.columns();
    for (Object each : (List<Object>) request.get("inputs")) {
      Map<String, Object> tensor = (Map<String, Object>) each;
      String name = (String) tensor.get("name");
      boolean isUnsigned = tensor.get("type").equals("UINT8");
      Object values = values((String) tensor.get("type"), (List<Object>) tensor.get("values"));
      if (name.equals("features")) {
        int width = ((Number) ((List<Object>) tensor.get("shape")).get(1)).intValue();
        return isUnsigned ? Inputs.unsignedMatrix(width, (byte[]) values) : Inputs.matrix(width, values);
      }
      if (isUnsigned)
        columns.addUnsigned(name, (byte[]) values);
      else
        columns.add(name, values);
    }
    return columns;
  }

  private static Object values(String type, List<Object> cells) {
    Map<String, Class<?>> types =
        Map.of("FLOAT32", float.class, "FLOAT64", double.class, "INT8", byte.class, "UINT8", byte.class, "INT16",
            short.class, "INT32", int.class, "INT64", long.class, "BOOL", boolean.class, "STRING", String.class);
    Object array = Array.newInstance(types.get(type), cells.size());
    for (int place = 0; place < cells.size(); place++) {
      Object cell = cells.get(place);
      double real = cell == null       ? Double.NaN
          : cell instanceof Number     ? ((Number) cell).doubleValue()
          : "-Infinity".equals(cell) ? Double.NEGATIVE_INFINITY
                                       : Double.POSITIVE_INFINITY;
      long whole = cell instanceof Number ? ((Number) cell).longValue() : 0;
      switch (type) {
        case "FLOAT32":
          Array.setFloat(array, place, (float) real);
          break;
        case "FLOAT64":
          Array.setDouble(array, place, real);
          break;
        case "INT8":
        case "UINT8":
          Array.setByte(array, place, (byte) whole);
          break;
        case "INT16":
          Array.setShort(array, place, (short) whole);
          break;
        case "INT32":
          Array.setInt(array, place, (int) whole);
          break;
        case "INT64":
          Array.setLong(array, place, whole);
          break;
        default:
          Array.set(array, place, cell);
      }
    }
    return array;
  }

  private static Map<String, Object> prediction(Prediction answer) {
    Map<String, Object> result = ok();
    result.put("model", answer.model());
    result.put("version", new Unsigned(answer.version()));
    List<Object> outputs = new ArrayList<>();
    for (Output output : answer.outputs().values()) {
      List<Object> values = new ArrayList<>();
      for (int place = 0; place < Array.getLength(output.values()); place++) {
        Object value = Array.get(output.values(), place);
        if (output.type() == DataType.UINT8)
          value = (Byte) value & 0xff;
        values.add(value instanceof Float ? (Object) ((Float) value).doubleValue() : value);
      }
      outputs.add(
          Map.of("name", output.name(), "type", output.type().name(), "shape", list(output.shape()), "values", values));
    }
    result.put("outputs", outputs);
    result.put("timing",
        Map.of("queue_us", answer.timing().getQueueUs() & 0xffffffffL, "compute_us",
            answer.timing().getComputeUs() & 0xffffffffL, "batch_rows", answer.timing().getBatchRows() & 0xffffffffL));
    return result;
  }

  private static List<Object> list(int[] numbers) {
    List<Object> result = new ArrayList<>();
    for (int number : numbers) result.add(number);
    return result;
  }

  private static Map<String, Object> ask(NeedletailClient client, Map<String, Object> request) {
    Map<String, Object> answer = ok();
    String model = (String) request.get("model");
    switch ((String) request.get("do")) {
      case "health":
        HealthResponse health = client.health();
        answer.put("live", health.getLive());
        answer.put("ready", health.getReady());
        answer.put("models", models(health.getModelsList()));
        return answer;
      case "metrics":
        answer.put("text", client.metrics());
        return answer;
      case "models":
        answer.put("models", models(client.models().getModelsList()));
        return answer;
      case "describe":
        DescribeModelResponse found = client.describe(model, options(request));
        answer.put("model", found.getModel());
        answer.put("version", new Unsigned(found.getVersion()));
        answer.put("state", found.getState().name().toLowerCase(Locale.ROOT));
        answer.put("task", found.getTask());
        answer.put("labels", new ArrayList<Object>(found.getLabelsList()));
        answer.put("inputs", specs(found.getInputsList()));
        answer.put("outputs", specs(found.getOutputsList()));
        return answer;
      case "server":
        ServerInfoResponse info = client.serverInfo();
        ServerLimits limits = info.getLimits();
        answer.put("name", info.getName());
        answer.put("version", info.getVersion());
        answer.put("isa", info.getIsa());
        answer.put("features", new ArrayList<Object>(info.getFeaturesList()));
        answer.put("limits",
            Map.of("rows_max", new Unsigned(limits.getRowsMax()), "request_bytes_max",
                new Unsigned(limits.getRequestBytesMax()), "text_bytes_max", new Unsigned(limits.getTextBytesMax()),
                "idle_ms", new Unsigned(limits.getIdleMs())));
        return answer;
      case "feedback":
        report(client.feedback(model, outcomes(request), options(request)), answer);
        return answer;
      case "storm":
        answer.put("wrong", storm(client, request));
        return answer;
      default:
        return prediction(client.predict(model, inputs(request), options(request)));
    }
  }

  @SuppressWarnings("unchecked")
  private static List<Outcome> outcomes(Map<String, Object> request) {
    List<Outcome> outcomes = new ArrayList<>();
    for (Object each : (List<Object>) request.get("outcomes")) {
      Map<String, Object> told = (Map<String, Object>) each;
      String key = (String) told.get("key");
      Number value = (Number) told.get("value");
      Outcome outcome = !told.containsKey("value")
          ? Outcome.label(key, (String) told.get("label"))
          : Outcome.value(key, value == null ? Double.NaN : value.doubleValue());
      outcomes.add(outcome.row(number(told, "row", 0).longValue()));
    }
    return outcomes;
  }

  private static void report(FeedbackReport report, Map<String, Object> answer) {
    answer.put("joined", report.joined());
    answer.put("unknown", report.unknown());
    answer.put("late", report.late());
    answer.put("duplicate", report.duplicate());
    answer.put("contradictory", report.contradictory());
    answer.put("invalid", report.invalid());
    List<Object> problems = new ArrayList<>();
    for (FeedbackReport.Problem problem : report.problems()) {
      problems.add(Map.of("index", problem.index(), "result", problem.result(), "message", problem.message()));
    }
    answer.put("problems", problems);
  }

  /** Asks for rows whose answers differ from call to call, so that a swapped answer shows. */
  private static int storm(NeedletailClient client, Map<String, Object> request) {
    AtomicInteger wrong = new AtomicInteger();
    List<Thread> threads = new ArrayList<>();
    for (int thread = 0; thread < number(request, "threads", 8).intValue(); thread++) {
      Thread begun = new Thread(() -> {
        for (int call = 0; call < number(request, "calls", 100).intValue(); call++) {
          int odd = call % 2 > 0 ? 1 : 0;
          int third = call % 3 > 0 ? 1 : 0;
          float[] row = {10 + odd, 0, -3, 100 + third};
          if (client.predict("grid", Inputs.rows(row)).prediction()[0] != 41.375f + odd + 32 * third) {
            wrong.incrementAndGet();
          }
        }
      });
      begun.setUncaughtExceptionHandler((dead, error) -> wrong.incrementAndGet());
      begun.start();
      threads.add(begun);
    }
    for (Thread thread : threads) {
      try {
        thread.join();
      } catch (InterruptedException error) {
        throw new IllegalStateException(error);
      }
    }
    return wrong.get();
  }

  private static List<Object> models(List<ModelStatus> models) {
    List<Object> result = new ArrayList<>();
    for (ModelStatus model : models) {
      List<Object> versions = new ArrayList<>();
      for (VersionStatus version : model.getVersionsList()) {
        versions.add(Map.of("version", new Unsigned(version.getVersion()), "state",
            version.getState().name().toLowerCase(Locale.ROOT), "reason", version.getReason()));
      }
      result.add(Map.of(
          "model", model.getModel(), "serving_version", new Unsigned(model.getServingVersion()), "versions", versions));
    }
    return result;
  }

  private static List<Object> specs(List<TensorSpec> specs) {
    List<Object> result = new ArrayList<>();
    for (TensorSpec spec : specs) {
      result.add(Map.of("name", spec.getName(), "type", spec.getType().name(), "shape",
          new ArrayList<Object>(spec.getShapeList()), "categories", new ArrayList<Object>(spec.getCategoriesList()),
          "optional", spec.getOptional()));
    }
    return result;
  }

  // -------------------------------------------------------------- JSON

  private static final class Unsigned {
    private final long value;

    Unsigned(long value) {
      this.value = value;
    }

    @Override
    public String toString() {
      return Long.toUnsignedString(value);
    }
  }

  private static void print(Object value, StringBuilder out) {
    if (value instanceof Map) {
      String separator = "{";
      for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
        out.append(separator);
        print(entry.getKey(), out);
        out.append(':');
        print(entry.getValue(), out);
        separator = ",";
      }
      out.append('}');
    } else if (value instanceof List) {
      out.append('[');
      for (int place = 0; place < ((List<?>) value).size(); place++) {
        if (place > 0)
          out.append(',');
        print(((List<?>) value).get(place), out);
      }
      out.append(']');
    } else if (value instanceof String) {
      out.append('"');
      for (char unit : ((String) value).toCharArray()) {
        if (unit == '"' || unit == '\\')
          out.append('\\').append(unit);
        else if (unit < 32)
          out.append(String.format("\\u%04x", (int) unit));
        else
          out.append(unit);
      }
      out.append('"');
    } else if (value instanceof Double && ((Double) value).isNaN()) {
      out.append("null");
    } else {
      out.append(value);
    }
  }

  /** Reads JSON as the runner writes it. */
  private static final class Json {
    private final String text;
    private int place;

    Json(String text) {
      this.text = text;
    }

    @SuppressWarnings("unchecked")
    Map<String, Object> object() {
      return (Map<String, Object>) value();
    }

    private char peek() {
      while (Character.isWhitespace(text.charAt(place)) || text.charAt(place) == ',' || text.charAt(place) == ':')
        place++;
      return text.charAt(place);
    }

    private Object value() {
      char first = peek();
      if (first == '{') {
        Map<String, Object> object = new LinkedHashMap<>();
        for (place++; peek() != '}';) {
          String name = string();
          object.put(name, value());
        }
        place++;
        return object;
      } else if (first == '[') {
        List<Object> list = new ArrayList<>();
        for (place++; peek() != ']';) list.add(value());
        place++;
        return list;
      } else if (first == '"') {
        return string();
      }
      int start = place;
      while (place < text.length() && ",]} ".indexOf(text.charAt(place)) < 0) place++;
      String word = text.substring(start, place);
      if (word.equals("null"))
        return null;
      if (word.equals("true") || word.equals("false"))
        return word.equals("true");
      if (word.matches("-?[0-9]{1,18}"))
        return Long.valueOf(word);
      return Double.valueOf(word);
    }

    private String string() {
      peek();
      StringBuilder found = new StringBuilder();
      for (place++; text.charAt(place) != '"'; place++) {
        char unit = text.charAt(place);
        if (unit == '\\') {
          unit = text.charAt(++place);
          if (unit == 'n')
            unit = '\n';
          else if (unit == 't')
            unit = '\t';
          else if (unit == 'u') {
            unit = (char) Integer.parseInt(text.substring(place + 1, place + 5), 16);
            place += 4;
          }
        }
        found.append(unit);
      }
      place++;
      return found.toString();
    }
  }
}
