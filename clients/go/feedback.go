package needletail

import (
	"context"
	"fmt"
	"math"
	"strings"

	pb "needletail/v1"
)

// outcomesMax is what a server takes in one call.
const outcomesMax = 1024

// Outcome is what became of one row of an earlier call.
type Outcome struct {
	// Key is the Request.Key of the call, or its RoutingKey.
	Key string
	// Row of the call, from 0.
	Row int
	// Truth is the true class as a string, or the true number as a float64, float32, int, int32 or int64: of a
	// regression, or the index of a class that has no label.
	Truth any
}

// OutcomeProblem is an outcome that was not joined with a prediction.
type OutcomeProblem struct {
	// Index is its place among the outcomes, from 0, and always one of them.
	Index int
	// Result is unknown, late, duplicate, contradictory, value, class or row; more may come.
	Result string
	// Message is one sentence for people.
	Message string
}

// FeedbackReport is what came of outcomes. Each is counted once.
type FeedbackReport struct {
	Joined uint64
	// Unknown: no prediction of that name is remembered.
	Unknown uint64
	// Late: reported after the window.
	Late uint64
	// Duplicate: the same outcome was reported before.
	Duplicate uint64
	// Contradictory: another outcome was reported before, which stands.
	Contradictory uint64
	// Invalid: a class or a row that does not exist, or a value of the wrong kind.
	Invalid uint64
	// Problems are the first outcomes of each call that were not joined.
	Problems []OutcomeProblem
}

// Feedback reports what became of predictions, so that the server can say how good a model is. More than 1,024 outcomes
// are several calls, one after the other; none are no call. What was counted is not counted again, so that all of it may
// be repeated, also after an error. Unimplemented means that the server remembers nothing of the model.
//
//	client.Predict(ctx, needletail.Request{Model: "churn", Inputs: rows, Key: "order-8812"})
//	report, err := client.Feedback(ctx, "churn", []needletail.Outcome{{Key: "order-8812", Row: 0, Truth: "churned"}})
func (c *Client) Feedback(ctx context.Context, model string, outcomes []Outcome) (*FeedbackReport, error) {
	messages := make([]*pb.Outcome, len(outcomes))
	for index, outcome := range outcomes {
		message, err := outcome.message(index)
		if err != nil {
			return nil, err
		}
		messages[index] = message
	}
	report := &FeedbackReport{}
	for first := 0; first < len(messages); first += outcomesMax {
		part := messages[first:]
		if len(part) > outcomesMax {
			part = part[:outcomesMax]
		}
		feedback := &pb.FeedbackRequest{Model: model, Outcomes: part}
		response, err := c.ask(ctx, &pb.Request{Call: &pb.Request_Feedback{Feedback: feedback}})
		if err != nil {
			return nil, err
		}
		if response.GetFeedback() == nil {
			return nil, wrongResult("feedback", response)
		}
		if err := report.add(response.GetFeedback(), first, len(part)); err != nil {
			return nil, err
		}
	}
	return report, nil
}

func (outcome Outcome) message(index int) (*pb.Outcome, error) {
	if outcome.Row < 0 || uint64(outcome.Row) > math.MaxUint32 {
		return nil, fail(InvalidArgument, FromCaller,
			"outcomes[%d]: row: expected a number from 0 to 2^32 - 1, found %d", index, outcome.Row)
	}
	message := &pb.Outcome{Key: outcome.Key, Row: uint32(outcome.Row)}
	switch truth := outcome.Truth.(type) {
	case string:
		message.Truth = &pb.Outcome_Label{Label: truth}
	case float64:
		message.Truth = &pb.Outcome_Value{Value: truth}
	case float32:
		message.Truth = &pb.Outcome_Value{Value: float64(truth)}
	case int:
		message.Truth = &pb.Outcome_Value{Value: float64(truth)}
	case int32:
		message.Truth = &pb.Outcome_Value{Value: float64(truth)}
	case int64:
		message.Truth = &pb.Outcome_Value{Value: float64(truth)}
	default:
		return nil, fail(InvalidArgument, FromCaller, "outcomes[%d]: truth: expected text or a number, found %T", index, truth)
	}
	return message, nil
}

// add adds what a call about `count` outcomes from `first` on has answered.
func (report *FeedbackReport) add(answer *pb.FeedbackResponse, first, count int) error {
	report.Joined += uint64(answer.GetJoined())
	report.Unknown += uint64(answer.GetUnknown())
	report.Late += uint64(answer.GetLate())
	report.Duplicate += uint64(answer.GetDuplicate())
	report.Contradictory += uint64(answer.GetContradictory())
	report.Invalid += uint64(answer.GetInvalid())
	for _, problem := range answer.GetProblems() {
		if uint64(problem.GetIndex()) >= uint64(count) {
			return violation("problems: expected one of %d outcomes, found number %d", count, problem.GetIndex())
		}
		told, index := int(problem.GetIndex()), first+int(problem.GetIndex())
		message := strings.Replace(problem.GetMessage(), fmt.Sprintf("outcomes[%d]", told), fmt.Sprintf("outcomes[%d]", index), 1)
		report.Problems = append(report.Problems, OutcomeProblem{Index: index, Result: problem.GetResult(), Message: message})
	}
	return nil
}
