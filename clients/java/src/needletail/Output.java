package needletail;

import com.google.protobuf.ByteString;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import needletail.v1.DataType;
import needletail.v1.Tensor;

/** What a model said under one name. */
public final class Output {
  /** No frame holds more elements, whatever a shape says. */
  private static final long ELEMENTS_MAX = 64 << 20;

  private final String name;
  private final DataType type;
  private final int[] shape;
  private final Object values;

  private Output(String name, DataType type, int[] shape, Object values) {
    this.name = name;
    this.type = type;
    this.shape = shape;
    this.values = values;
  }

  public String name() {
    return name;
  }

  public DataType type() {
    return type;
  }

  public int[] shape() {
    return shape.clone();
  }

  /** The elements, row after row: float[], double[], byte[], short[], int[], long[], boolean[] or String[]. */
  public Object values() {
    return values;
  }

  static Output decode(Tensor tensor) {
    String name = tensor.getName();
    long count = 1;
    int[] shape = new int[tensor.getShapeCount()];
    for (int place = 0; place < shape.length; place++) {
      long size = tensor.getShape(place);
      if (size < 0 || size > ELEMENTS_MAX || (count *= size) > ELEMENTS_MAX) {
        throw NeedletailException.violation(
            "output \"%s\": expected a shape that a frame can hold, found %s", name, tensor.getShapeList());
      }
      shape[place] = (int) size;
    }
    return new Output(name, tensor.getType(), shape, valuesOf(tensor, (int) count));
  }

  private static Object valuesOf(Tensor tensor, int count) {
    switch (tensor.getType()) {
      case FLOAT32:
        float[] floats = new float[checked(tensor, count, 4)];
        bytes(tensor).asFloatBuffer().get(floats);
        return floats;
      case FLOAT64:
        double[] doubles = new double[checked(tensor, count, 8)];
        bytes(tensor).asDoubleBuffer().get(doubles);
        return doubles;
      case INT8:
      case UINT8:
        checked(tensor, count, 1);
        return tensor.getData().toByteArray();
      case INT16:
        short[] shorts = new short[checked(tensor, count, 2)];
        bytes(tensor).asShortBuffer().get(shorts);
        return shorts;
      case INT32:
        int[] ints = new int[checked(tensor, count, 4)];
        bytes(tensor).asIntBuffer().get(ints);
        return ints;
      case INT64:
        long[] longs = new long[checked(tensor, count, 8)];
        bytes(tensor).asLongBuffer().get(longs);
        return longs;
      case BOOL:
        boolean[] flags = new boolean[checked(tensor, count, 1)];
        for (int place = 0; place < count; place++) flags[place] = tensor.getData().byteAt(place) != 0;
        return flags;
      case STRING:
        if (tensor.getStringsCount() != count) {
          throw NeedletailException.violation(
              "output \"%s\": expected %d strings, found %d", tensor.getName(), count, tensor.getStringsCount());
        }
        String[] texts = new String[count];
        for (int place = 0; place < count; place++) {
          ByteString text = tensor.getStrings(place);
          if (!text.isValidUtf8()) {
            throw NeedletailException.violation(
                "output \"%s\": expected UTF-8 in element %d, found other bytes", tensor.getName(), place);
          }
          texts[place] = text.toStringUtf8();
        }
        return texts;
      default:
        throw NeedletailException.violation(
            "output \"%s\": expected a known element type, found %d", tensor.getName(), tensor.getTypeValue());
    }
  }

  /** The count of elements, once their bytes are there: memory is taken after this. */
  private static int checked(Tensor tensor, int count, int size) {
    long expected = (long) count * size;
    if (tensor.getData().size() != expected) {
      throw NeedletailException.violation(
          "output \"%s\": expected %d bytes, found %d", tensor.getName(), expected, tensor.getData().size());
    }
    return count;
  }

  private static ByteBuffer bytes(Tensor tensor) {
    return tensor.getData().asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
  }
}
