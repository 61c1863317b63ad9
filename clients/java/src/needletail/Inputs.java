package needletail;

import com.google.protobuf.ByteString;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import needletail.v1.DataType;
import needletail.v1.Tensor;

/**
 * Inputs of a prediction: all features of all rows in the model's order, or columns by the names of their features.
 *
 * <p>Each array is sent as what it is: float[], double[], byte[] (INT8), short[], int[], long[], boolean[] or String[].
 * NaN, null and "" are missing values. Categorical features are text, in columns.
 */
public final class Inputs {
  private final List<Tensor> tensors = new ArrayList<>();
  private int rows = -1;

  private Inputs() {}

  /** Rows of numbers, each with all features. */
  public static Inputs rows(double[]... rows) {
    int columns = rows.length == 0 ? 0 : rows[0].length;
    double[] flat = new double[rows.length * columns];
    for (int row = 0; row < rows.length; row++) {
      checkRow(row, rows[row].length, columns);
      System.arraycopy(rows[row], 0, flat, row * columns, columns);
    }
    return matrix(columns, flat);
  }

  /** Rows of numbers, each with all features. */
  public static Inputs rows(float[]... rows) {
    int columns = rows.length == 0 ? 0 : rows[0].length;
    float[] flat = new float[rows.length * columns];
    for (int row = 0; row < rows.length; row++) {
      checkRow(row, rows[row].length, columns);
      System.arraycopy(rows[row], 0, flat, row * columns, columns);
    }
    return matrix(columns, flat);
  }

  /** Rows of text, each with all features: categories, and numbers as they are written. */
  public static Inputs rows(String[]... rows) {
    int columns = rows.length == 0 ? 0 : rows[0].length;
    String[] flat = new String[rows.length * columns];
    for (int row = 0; row < rows.length; row++) {
      checkRow(row, rows[row].length, columns);
      System.arraycopy(rows[row], 0, flat, row * columns, columns);
    }
    return matrix(columns, flat);
  }

  /** All rows in one array, row after row; the array is one of those that the class names. */
  public static Inputs matrix(int columns, Object values) {
    Inputs inputs = new Inputs();
    Tensor.Builder tensor = encode("features", values);
    int count = countOf(values);
    if (columns < 1 || count == 0 || count % columns != 0) {
      throw NeedletailException.invalid(
          "inputs: expected at least one whole row of %d features, found %d values", columns, count);
    }
    inputs.tensors.add(tensor.addShape(count / columns).addShape(columns).build());
    return inputs;
  }

  /** No columns yet: {@link #add} adds them. */
  public static Inputs columns() {
    return new Inputs();
  }

  /** Adds a column, in any order: an array of one of the types that the class names, with a value for each row. */
  public Inputs add(String name, Object values) {
    return add(name, encode(name, values), countOf(values));
  }

  /** Adds a column of bytes without a sign, 0 to 255. */
  public Inputs addUnsigned(String name, byte[] values) {
    return add(name, encode(name, values).setType(DataType.UINT8), values.length);
  }

  /** All rows in one array of bytes without a sign. */
  public static Inputs unsignedMatrix(int columns, byte[] values) {
    Inputs inputs = matrix(columns, values);
    inputs.tensors.set(0, inputs.tensors.get(0).toBuilder().setType(DataType.UINT8).build());
    return inputs;
  }

  private Inputs add(String name, Tensor.Builder tensor, int count) {
    if (rows < 0)
      rows = count;
    if (count != rows || count == 0) {
      throw NeedletailException.invalid(
          "column \"%s\": expected %d rows like other columns, and at least one, found %d", name, rows, count);
    }
    tensors.add(tensor.addShape(count).build());
    return this;
  }

  List<Tensor> tensors() {
    if (tensors.isEmpty())
      throw NeedletailException.invalid("inputs: expected at least one column, found none");
    return tensors;
  }

  private static void checkRow(int row, int found, int columns) {
    if (found != columns) {
      throw NeedletailException.invalid("inputs: expected %d features in row %d, found %d", columns, row, found);
    }
  }

  private static int countOf(Object values) {
    return values != null && values.getClass().isArray() ? java.lang.reflect.Array.getLength(values) : 0;
  }

  private static Tensor.Builder encode(String name, Object values) {
    Tensor.Builder tensor = Tensor.newBuilder().setName(name);
    if (values instanceof float[]) {
      float[] typed = (float[]) values;
      return numbers(tensor, DataType.FLOAT32, 4 * typed.length, buffer -> buffer.asFloatBuffer().put(typed));
    } else if (values instanceof double[]) {
      double[] typed = (double[]) values;
      return numbers(tensor, DataType.FLOAT64, 8 * typed.length, buffer -> buffer.asDoubleBuffer().put(typed));
    } else if (values instanceof byte[]) {
      byte[] typed = (byte[]) values;
      return numbers(tensor, DataType.INT8, typed.length, buffer -> buffer.duplicate().put(typed));
    } else if (values instanceof short[]) {
      short[] typed = (short[]) values;
      return numbers(tensor, DataType.INT16, 2 * typed.length, buffer -> buffer.asShortBuffer().put(typed));
    } else if (values instanceof int[]) {
      int[] typed = (int[]) values;
      return numbers(tensor, DataType.INT32, 4 * typed.length, buffer -> buffer.asIntBuffer().put(typed));
    } else if (values instanceof long[]) {
      long[] typed = (long[]) values;
      return numbers(tensor, DataType.INT64, 8 * typed.length, buffer -> buffer.asLongBuffer().put(typed));
    } else if (values instanceof boolean[]) {
      boolean[] typed = (boolean[]) values;
      byte[] bytes = new byte[typed.length];
      for (int place = 0; place < bytes.length; place++) bytes[place] = (byte) (typed[place] ? 1 : 0);
      return tensor.setType(DataType.BOOL).setData(ByteString.copyFrom(bytes));
    } else if (values instanceof String[]) {
      tensor.setType(DataType.STRING);
      for (String text : (String[]) values) tensor.addStrings(text == null ? ByteString.EMPTY : utf8(name, text));
      return tensor;
    }
    throw NeedletailException.invalid("column \"%s\": expected an array of numbers, truth values or text, found %s",
        name, values == null ? "null" : values.getClass().getSimpleName());
  }

  private static Tensor.Builder numbers(Tensor.Builder tensor, DataType type, int bytes, Function<ByteBuffer, ?> put) {
    ByteBuffer buffer = ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
    put.apply(buffer);
    return tensor.setType(type).setData(ByteString.copyFrom(buffer.array()));
  }

  /** UTF-8 of a text; half a surrogate pair is none. */
  private static ByteString utf8(String name, String text) {
    for (int place = 0; place < text.length(); place++) {
      char unit = text.charAt(place);
      if (!Character.isSurrogate(unit))
        continue;
      boolean isPair = Character.isHighSurrogate(unit) && place + 1 < text.length()
          && Character.isLowSurrogate(text.charAt(place + 1));
      if (!isPair)
        throw NeedletailException.invalid("column \"%s\": expected Unicode, found half a pair of surrogates", name);
      place++;
    }
    return ByteString.copyFromUtf8(text);
  }
}
