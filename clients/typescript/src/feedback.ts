import {invalid, violation} from "./errors";

/** Outcomes that a server takes in one call. */
export const OUTCOMES_MAX = 1024;

/** What became of one row of an earlier call. */
export interface Outcome {
  /** The `key` of the call, or its `routingKey`. */
  key: string;
  /** The row of the call, from 0, which is the default. */
  row?: number;
  /** The true class as text, or the true number: of a regression, or the index of a class that has no label. */
  truth: string|number;
}

/** An outcome that was not joined with a prediction. */
export interface OutcomeProblem {
  /** Its place among the outcomes, from 0, and always one of them. */
  index: number;
  /** unknown, late, duplicate, contradictory, value, class or row; more may come. */
  result: string;
  /** One sentence for people. */
  message: string;
}

/** What came of outcomes. Each is counted once. */
export interface FeedbackReport {
  joined: number;
  /** No prediction of that name is remembered. */
  unknown: number;
  /** Reported after the window. */
  late: number;
  /** The same outcome was reported before. */
  duplicate: number;
  /** Another outcome was reported before, which stands. */
  contradictory: number;
  /** A class or a row that does not exist, or a value of the wrong kind. */
  invalid: number;
  /** The first outcomes of each call that were not joined. */
  problems: OutcomeProblem[];
}

export function emptyReport(): FeedbackReport {
  return {joined: 0, unknown: 0, late: 0, duplicate: 0, contradictory: 0, invalid: 0, problems: []};
}

/** Throws if this cannot be an outcome, whatever the server remembers: programs in JavaScript have no types. */
export function checkOutcome({key, row = 0, truth}: Outcome, index: number): void {
  if (typeof key !== "string") throw invalid(`outcomes[${index}]: key: expected a name, found ${typeof key}`);
  if (!(Number.isInteger(row) && row >= 0 && row < 2 ** 32)) {
    throw invalid(`outcomes[${index}]: row: expected a number from 0 to 2^32 - 1, found ${row}`);
  }
  if (typeof truth !== "string" && typeof truth !== "number") {
    throw invalid(`outcomes[${index}]: truth: expected text or a number, found ${typeof truth}`);
  }
}

/** Adds what a call about `count` outcomes from `first` on has answered. */
export function addReport(report: FeedbackReport, answer: FeedbackReport, first: number, count: number): void {
  report.joined += answer.joined;
  report.unknown += answer.unknown;
  report.late += answer.late;
  report.duplicate += answer.duplicate;
  report.contradictory += answer.contradictory;
  report.invalid += answer.invalid;
  for (const {index, result, message} of answer.problems) {
    if (index >= count) throw violation(`problems: expected one of ${count} outcomes, found number ${index}`);
    const place = first + index;
    report.problems.push({index: place, result, message: message.replace(`outcomes[${index}]`, `outcomes[${place}]`)});
  }
}
