package needletail;

/**
 * What became of one row of an earlier call. Immutable.
 *
 * <pre>{@code
 * Outcome.label("order-8812", "churned").row(1);
 * }</pre>
 */
public final class Outcome {
  private final String key;
  private final long row;
  private final String label;
  private final double value;

  private Outcome(String key, long row, String label, double value) {
    this.key = key;
    this.row = row;
    this.label = label;
    this.value = value;
  }

  /**
   * The true class of the first row of a call.
   *
   * @param key the {@link CallOptions#key} of the call, or its routing key
   */
  public static Outcome label(String key, String label) {
    if (label == null) {
      throw NeedletailException.invalid("truth: expected text or a number, found null");
    }
    return new Outcome(key, 0, label, 0);
  }

  /**
   * The true number for the first row of a call: of a regression, or the index of a class that has no label.
   *
   * @param key the {@link CallOptions#key} of the call, or its routing key
   */
  public static Outcome value(String key, double value) {
    return new Outcome(key, 0, null, value);
  }

  /** The same of another row of the call, counted from 0. */
  public Outcome row(long number) {
    return new Outcome(key, number, label, value);
  }

  /**
   * @param index its place among the outcomes
   * @throws NeedletailException if this cannot be an outcome, whatever the server remembers
   */
  needletail.v1.Outcome message(int index) {
    if (key == null) {
      throw NeedletailException.invalid("outcomes[%d]: key: expected a name, found null", index);
    }
    if (row < 0 || row > 0xffffffffL) {
      throw NeedletailException.invalid(
          "outcomes[%d]: row: expected a number from 0 to 2^32 - 1, found %d", index, row);
    }
    needletail.v1.Outcome.Builder message = needletail.v1.Outcome.newBuilder().setKey(key).setRow((int) row);
    return (label == null ? message.setValue(value) : message.setLabel(label)).build();
  }
}
