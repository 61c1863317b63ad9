package needletail;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import needletail.v1.FeedbackResponse;
import needletail.v1.OutcomeProblem;

/** What came of outcomes. Each is counted once. */
public final class FeedbackReport {
  /** An outcome that was not joined with a prediction. */
  public static final class Problem {
    private final int index;
    private final String result;
    private final String message;

    Problem(int index, String result, String message) {
      this.index = index;
      this.result = result;
      this.message = message;
    }

    /** Its place among the outcomes, from 0, and always one of them. */
    public int index() {
      return index;
    }

    /** unknown, late, duplicate, contradictory, value, class or row; more may come. */
    public String result() {
      return result;
    }

    /** One sentence for people. */
    public String message() {
      return message;
    }
  }

  private long joined;
  private long unknown;
  private long late;
  private long duplicate;
  private long contradictory;
  private long invalid;
  private final List<Problem> problems = new ArrayList<>();

  FeedbackReport() {}

  /** Adds what a call about `count` outcomes from `first` on has answered. */
  void add(FeedbackResponse answer, int first, int count) {
    joined += Integer.toUnsignedLong(answer.getJoined());
    unknown += Integer.toUnsignedLong(answer.getUnknown());
    late += Integer.toUnsignedLong(answer.getLate());
    duplicate += Integer.toUnsignedLong(answer.getDuplicate());
    contradictory += Integer.toUnsignedLong(answer.getContradictory());
    invalid += Integer.toUnsignedLong(answer.getInvalid());
    for (OutcomeProblem problem : answer.getProblemsList()) {
      int told = problem.getIndex();
      if (told < 0 || told >= count) {
        throw NeedletailException.violation(
            "problems: expected one of %d outcomes, found number %d", count, Integer.toUnsignedLong(told));
      }
      int index = first + told;
      problems.add(
          new Problem(index, problem.getResult(), renumbered(problem.getMessage(), place(told), place(index))));
    }
  }

  private static String place(int index) {
    return "outcomes[" + index + "]";
  }

  private static String renumbered(String message, String told, String meant) {
    int start = message.indexOf(told);
    return start < 0 ? message : message.substring(0, start) + meant + message.substring(start + told.length());
  }

  public long joined() {
    return joined;
  }

  /** No prediction of that name is remembered. */
  public long unknown() {
    return unknown;
  }

  /** Reported after the window. */
  public long late() {
    return late;
  }

  /** The same outcome was reported before. */
  public long duplicate() {
    return duplicate;
  }

  /** Another outcome was reported before, which stands. */
  public long contradictory() {
    return contradictory;
  }

  /** A class or a row that does not exist, or a value of the wrong kind. */
  public long invalid() {
    return invalid;
  }

  /** The first outcomes of each call that were not joined. */
  public List<Problem> problems() {
    return Collections.unmodifiableList(problems);
  }
}
