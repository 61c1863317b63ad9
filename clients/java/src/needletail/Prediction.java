package needletail;

import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.NoSuchElementException;
import needletail.v1.PredictResponse;
import needletail.v1.Tensor;
import needletail.v1.Timing;

/** A model's answer. */
public final class Prediction {
  private final PredictResponse answer;
  private final Map<String, Output> outputs = new LinkedHashMap<>();

  Prediction(PredictResponse answer) {
    if (answer.getVersion() == 0) {
      throw NeedletailException.violation("version: expected the version that answered, found 0");
    }
    this.answer = answer;
    for (Tensor tensor : answer.getOutputsList()) outputs.put(tensor.getName(), Output.decode(tensor));
  }

  public String model() {
    return answer.getModel();
  }

  /** The version that answered; never 0, and unsigned. */
  public long version() {
    return answer.getVersion();
  }

  /** All outputs, in the model's order. */
  public Map<String, Output> outputs() {
    return Collections.unmodifiableMap(outputs);
  }

  /** Microseconds in the queue and in the computation, and the rows computed together with these. */
  public Timing timing() {
    return answer.getTiming();
  }

  /** The predicted numbers of a regression, one a row. */
  public float[] prediction() {
    return floats("prediction");
  }

  /** The most likely label, one a row. */
  public String[] labels() {
    return texts("label");
  }

  /** The index of the most likely class, one a row. */
  public long[] classes() {
    return integers("class");
  }

  /** The probability of every class, an array for each row. */
  public float[][] probabilities() {
    float[] values = floats("probabilities");
    int[] shape = outputs.get("probabilities").shape();
    int columns = shape.length == 2 ? shape[1] : 1;
    float[][] rows = new float[shape[0]][];
    for (int row = 0; row < rows.length; row++) {
      rows[row] = Arrays.copyOfRange(values, row * columns, (row + 1) * columns);
    }
    return rows;
  }

  /** The elements of an output of type FLOAT32. */
  public float[] floats(String output) {
    return typed(output, float[].class);
  }

  /** The elements of an output of type INT64. */
  public long[] integers(String output) {
    return typed(output, long[].class);
  }

  /** The elements of an output of type STRING. */
  public String[] texts(String output) {
    return typed(output, String[].class);
  }

  private <Values> Values typed(String name, Class<Values> type) {
    Output output = outputs.get(name);
    if (output == null || !type.isInstance(output.values())) {
      throw new NoSuchElementException(
          "no output \"" + name + "\" of " + type.getSimpleName() + "; there are " + outputs.keySet());
    }
    return type.cast(output.values());
  }
}
