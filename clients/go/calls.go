package needletail

import (
	"context"
	"fmt"

	pb "needletail/v1"
)

// Request is a prediction to ask for.
type Request struct {
	Model string
	// Inputs: Rows, Matrix or Columns.
	Inputs Inputs
	// Version to ask; 0: by Label, or what the rollout serves now.
	Version uint64
	Label   string
	// Outputs wanted, by name; none: all of them.
	Outputs []string
	// RoutingKey: requests with the same key see the same version of a split rollout.
	RoutingKey string
	// Bulk: nobody waits for the answer, and others may go first.
	Bulk bool
	// Key names the call for Feedback, at most 256 bytes; empty: RoutingKey does.
	Key string
	// Traceparent is the trace that the call belongs to, as W3C Trace Context writes it; empty: none.
	Traceparent string
}

// Prediction is a model's answer.
type Prediction struct {
	Model string
	// Version that answered; never 0.
	Version uint64
	Outputs map[string]Output
	// QueueUs and ComputeUs are microseconds in the server, BatchRows the rows computed together with these.
	QueueUs, ComputeUs, BatchRows uint32
}

// Floats are the values of an output such as "prediction" or "probabilities"; nil if there is none of this type.
func (p *Prediction) Floats(output string) []float32 {
	values, _ := p.Outputs[output].Values.([]float32)
	return values
}

// Integers are the values of an output such as "class".
func (p *Prediction) Integers(output string) []int64 {
	values, _ := p.Outputs[output].Values.([]int64)
	return values
}

// Texts are the values of an output such as "label".
func (p *Prediction) Texts(output string) []string {
	values, _ := p.Outputs[output].Values.([]string)
	return values
}

// Probabilities of each class, a slice for each row; nil for a model without.
func (p *Prediction) Probabilities() [][]float32 {
	output := p.Outputs["probabilities"]
	values, ok := output.Values.([]float32)
	if !ok || len(output.Shape) != 2 {
		return nil
	}
	rows := make([][]float32, output.Shape[0])
	for place := range rows {
		rows[place] = values[place*output.Shape[1] : (place+1)*output.Shape[1]]
	}
	return rows
}

// Predict asks a model. The context's deadline bounds the call with all its repetitions, and is the server's as well.
func (c *Client) Predict(ctx context.Context, request Request) (*Prediction, error) {
	if request.Inputs == nil {
		return nil, fail(InvalidArgument, FromCaller, "inputs: expected Rows, Matrix or Columns, found nil")
	}
	tensors, err := request.Inputs.tensors()
	if err != nil {
		return nil, err
	}
	if err := checkSelector(request.Version, request.Label); err != nil {
		return nil, err
	}
	predict := &pb.PredictRequest{Model: request.Model, Inputs: tensors, Outputs: request.Outputs,
		RoutingKey: request.RoutingKey, Key: request.Key}
	if request.Version != 0 {
		predict.Selector = &pb.PredictRequest_Version{Version: request.Version}
	} else if request.Label != "" {
		predict.Selector = &pb.PredictRequest_Label{Label: request.Label}
	}
	if request.Bulk {
		predict.Priority = pb.Priority_BULK
	}
	response, failure := c.ask(ctx, &pb.Request{Call: &pb.Request_Predict{Predict: predict}, Traceparent: request.Traceparent})
	if failure != nil {
		return nil, failure
	}
	answer := response.GetPredict()
	if answer == nil {
		return nil, wrongResult("predict", response)
	}
	if answer.GetVersion() == 0 {
		return nil, violation("version: expected the version that answered, found 0")
	}
	prediction := &Prediction{Model: answer.GetModel(), Version: answer.GetVersion(), Outputs: map[string]Output{},
		QueueUs: answer.GetTiming().GetQueueUs(), ComputeUs: answer.GetTiming().GetComputeUs(),
		BatchRows: answer.GetTiming().GetBatchRows()}
	for _, tensor := range answer.GetOutputs() {
		output, err := decode(tensor)
		if err != nil {
			return nil, err
		}
		prediction.Outputs[output.Name] = output
	}
	return prediction, nil
}

// Health tells whether the server lives and takes traffic, and the state of every model.
func (c *Client) Health(ctx context.Context) (*pb.HealthResponse, error) {
	response, err := c.ask(ctx, &pb.Request{Call: &pb.Request_Health{Health: &pb.HealthRequest{}}})
	if err != nil {
		return nil, err
	}
	if response.GetHealth() == nil {
		return nil, wrongResult("health", response)
	}
	return response.GetHealth(), nil
}

// Metrics is the server's metrics as Prometheus text.
func (c *Client) Metrics(ctx context.Context) (string, error) {
	response, err := c.ask(ctx, &pb.Request{Call: &pb.Request_Metrics{Metrics: &pb.MetricsRequest{}}})
	if err != nil {
		return "", err
	}
	if response.GetMetrics() == nil {
		return "", wrongResult("metrics", response)
	}
	return response.GetMetrics().GetText(), nil
}

// Models lists the models with their versions, and stray files in the store.
func (c *Client) Models(ctx context.Context) (*pb.ListModelsResponse, error) {
	response, err := c.ask(ctx, &pb.Request{Call: &pb.Request_ListModels{ListModels: &pb.ListModelsRequest{}}})
	if err != nil {
		return nil, err
	}
	if response.GetListModels() == nil {
		return nil, wrongResult("list_models", response)
	}
	return response.GetListModels(), nil
}

// ServerInfo tells version, features and limits of the server; a server without this call answers Unimplemented.
func (c *Client) ServerInfo(ctx context.Context) (*pb.ServerInfoResponse, error) {
	response, err := c.ask(ctx, &pb.Request{Call: &pb.Request_ServerInfo{ServerInfo: &pb.ServerInfoRequest{}}})
	if err != nil {
		return nil, err
	}
	if response.GetServerInfo() == nil {
		return nil, wrongResult("server_info", response)
	}
	return response.GetServerInfo(), nil
}

// Describe tells inputs, outputs, labels and origin of a model. Version 0 and no label: what the rollout serves now.
func (c *Client) Describe(ctx context.Context, model string, version uint64, label string) (*pb.DescribeModelResponse, error) {
	if err := checkSelector(version, label); err != nil {
		return nil, err
	}
	describe := &pb.DescribeModelRequest{Model: model}
	if version != 0 {
		describe.Selector = &pb.DescribeModelRequest_Version{Version: version}
	} else if label != "" {
		describe.Selector = &pb.DescribeModelRequest_Label{Label: label}
	}
	response, err := c.ask(ctx, &pb.Request{Call: &pb.Request_DescribeModel{DescribeModel: describe}})
	if err != nil {
		return nil, err
	}
	if response.GetDescribeModel() == nil {
		return nil, wrongResult("describe_model", response)
	}
	return response.GetDescribeModel(), nil
}

func checkSelector(version uint64, label string) error {
	if version != 0 && label != "" {
		return fail(InvalidArgument, FromCaller, "selector: expected a version or a label, found both (%d and %q)", version, label)
	}
	return nil
}

func wrongResult(expected string, response *pb.Response) *Error {
	return violation("result: expected %s, found %s", expected, fmt.Sprintf("%T", response.GetResult()))
}
