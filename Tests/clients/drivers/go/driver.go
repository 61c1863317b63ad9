// Conformance driver of the Go client: requests as JSON, one a line; answers one line each.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"needletail"
	pb "needletail/v1"
)

type tensor struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Shape  []int  `json:"shape"`
	Values []any  `json:"values"`
}

type told struct {
	Key   string
	Row   int
	Label *string
	Value json.RawMessage
}

type request struct {
	Do, Client, Call, Address, Model, Label string
	APIKey                                  string   `json:"api_key"`
	TimeoutMs                               *float64 `json:"timeout_ms"`
	Attempts                                *int
	BudgetRatio                             *float64 `json:"budget_ratio"`
	BudgetBurst                             *float64 `json:"budget_burst"`
	RetryLost                               *bool    `json:"retry_lost"`
	RequestBytesMax                         int      `json:"request_bytes_max"`
	AnswerBytesMax                          int      `json:"answer_bytes_max"`
	CA, Certificate, Key                    string
	ServerName                              string `json:"server_name"`
	Inputs                                  []tensor
	Version                                 uint64
	Outputs                                 []string
	RoutingKey                              string `json:"routing_key"`
	Bulk                                    bool
	Traceparent                             string
	Outcomes                                []told
	Threads, Calls                          int

	hasTimeout bool
}

type object = map[string]any

func open(r request) (*needletail.Client, error) {
	retries := needletail.DefaultRetries()
	if r.Attempts != nil {
		retries.Attempts = *r.Attempts
	}
	if r.BudgetRatio != nil {
		retries.BudgetRatio = *r.BudgetRatio
	}
	if r.BudgetBurst != nil {
		retries.BudgetBurst = *r.BudgetBurst
	}
	retries.NotLost = r.RetryLost != nil && !*r.RetryLost
	options := needletail.Options{APIKey: r.APIKey, RequestBytesMax: r.RequestBytesMax,
		AnswerBytesMax: r.AnswerBytesMax, Retries: retries}
	if r.TimeoutMs != nil {
		options.Timeout = time.Duration(*r.TimeoutMs * float64(time.Millisecond))
	}
	if r.CA != "" {
		options.TLS = &needletail.TLS{CA: r.CA, Certificate: r.Certificate, Key: r.Key, ServerName: r.ServerName}
	}
	return needletail.Open(r.Address, options)
}

func number(value any) float64 {
	switch typed := value.(type) {
	case json.Number:
		found, _ := typed.Float64()
		return found
	case string:
		return map[string]float64{"Infinity": math.Inf(1), "-Infinity": math.Inf(-1)}[typed]
	case bool:
		if typed {
			return 1
		}
		return 0
	}
	return math.NaN()
}

func whole[T int8 | int16 | int32 | int64 | uint8](values []any) []T {
	result := make([]T, len(values))
	for place, value := range values {
		found, _ := value.(json.Number).Int64()
		result[place] = T(found)
	}
	return result
}

func slice(t tensor) any {
	switch t.Type {
	case "FLOAT32":
		values := make([]float32, len(t.Values))
		for place, value := range t.Values {
			values[place] = float32(number(value))
		}
		return values
	case "FLOAT64":
		values := make([]float64, len(t.Values))
		for place, value := range t.Values {
			values[place] = number(value)
		}
		return values
	case "INT8":
		return whole[int8](t.Values)
	case "INT16":
		return whole[int16](t.Values)
	case "INT32":
		return whole[int32](t.Values)
	case "INT64":
		return whole[int64](t.Values)
	case "UINT8":
		return whole[uint8](t.Values)
	case "BOOL":
		values := make([]bool, len(t.Values))
		for place, value := range t.Values {
			values[place] = value.(bool)
		}
		return values
	}
	values := make([]string, len(t.Values))
	for place, value := range t.Values {
		values[place], _ = value.(string)
	}
	return values
}

func matrix(columns int, values any) needletail.Inputs {
	switch typed := values.(type) {
	case []float32:
		return needletail.Matrix(columns, typed)
	case []float64:
		return needletail.Matrix(columns, typed)
	case []int8:
		return needletail.Matrix(columns, typed)
	case []int16:
		return needletail.Matrix(columns, typed)
	case []int32:
		return needletail.Matrix(columns, typed)
	case []int64:
		return needletail.Matrix(columns, typed)
	case []uint8:
		return needletail.Matrix(columns, typed)
	case []bool:
		return needletail.Matrix(columns, typed)
	}
	return needletail.Matrix(columns, values.([]string))
}

func inputs(tensors []tensor) needletail.Inputs {
	if len(tensors) == 1 && tensors[0].Name == "features" {
		return matrix(tensors[0].Shape[1], slice(tensors[0]))
	}
	columns := needletail.Columns{}
	for _, each := range tensors {
		columns[each.Name] = slice(each)
	}
	return columns
}

func models(found []*pb.ModelStatus) []object {
	result := []object{}
	for _, model := range found {
		versions := []object{}
		for _, version := range model.Versions {
			versions = append(versions, object{"version": version.Version, "reason": version.Reason,
				"state": strings.ToLower(version.State.String())})
		}
		result = append(result, object{"model": model.Model, "serving_version": model.ServingVersion, "versions": versions})
	}
	return result
}

func specs(found []*pb.TensorSpec) []object {
	result := []object{}
	for _, spec := range found {
		result = append(result, object{"name": spec.Name, "type": spec.Type.String(), "shape": spec.Shape,
			"categories": append([]string{}, spec.Categories...), "optional": spec.Optional})
	}
	return result
}

// values are an output's as JSON has them.
func values(output needletail.Output) any {
	if bytes, ok := output.Values.([]uint8); ok {
		wide := make([]int, len(bytes))
		for place, value := range bytes {
			wide[place] = int(value)
		}
		return wide
	}
	floats, ok := output.Values.([]float32)
	if !ok {
		return output.Values
	}
	result := make([]any, len(floats))
	for place, value := range floats {
		if !math.IsNaN(float64(value)) {
			result[place] = float64(value)
		}
	}
	return result
}

func ask(ctx context.Context, client *needletail.Client, r request) (object, error) {
	switch r.Do {
	case "health":
		health, err := client.Health(ctx)
		return object{"live": health.GetLive(), "ready": health.GetReady(), "models": models(health.GetModels())}, err
	case "metrics":
		text, err := client.Metrics(ctx)
		return object{"text": text}, err
	case "models":
		list, err := client.Models(ctx)
		return object{"models": models(list.GetModels())}, err
	case "describe":
		model, err := client.Describe(ctx, r.Model, r.Version, r.Label)
		return object{"model": model.GetModel(), "version": model.GetVersion(),
			"state": strings.ToLower(model.GetState().String()), "task": model.GetTask(), "labels": model.GetLabels(),
			"inputs": specs(model.GetInputs()), "outputs": specs(model.GetOutputs())}, err
	case "server":
		info, err := client.ServerInfo(ctx)
		limits := info.GetLimits()
		return object{"name": info.GetName(), "version": info.GetVersion(), "isa": info.GetIsa(),
			"features": append([]string{}, info.GetFeatures()...), "limits": object{"rows_max": limits.GetRowsMax(),
				"request_bytes_max": limits.GetRequestBytesMax(), "text_bytes_max": limits.GetTextBytesMax(),
				"idle_ms": limits.GetIdleMs()}}, err
	case "feedback":
		return feedback(ctx, client, r)
	case "storm":
		return storm(ctx, client, r), nil
	}
	answer, err := client.Predict(ctx, needletail.Request{Model: r.Model, Inputs: inputs(r.Inputs), Version: r.Version,
		Label: r.Label, Outputs: r.Outputs, RoutingKey: r.RoutingKey, Bulk: r.Bulk,
		Key: r.Key, Traceparent: r.Traceparent})
	if err != nil {
		return nil, err
	}
	outputs := []object{}
	for _, output := range answer.Outputs {
		outputs = append(outputs, object{"name": output.Name, "type": output.Type, "shape": output.Shape, "values": values(output)})
	}
	return object{"model": answer.Model, "version": answer.Version, "outputs": outputs, "timing": object{
		"queue_us": answer.QueueUs, "compute_us": answer.ComputeUs, "batch_rows": answer.BatchRows}}, nil
}

func feedback(ctx context.Context, client *needletail.Client, r request) (object, error) {
	outcomes := make([]needletail.Outcome, len(r.Outcomes))
	for place, each := range r.Outcomes {
		outcomes[place] = needletail.Outcome{Key: each.Key, Row: each.Row}
		if each.Label != nil {
			outcomes[place].Truth = *each.Label
		} else if each.Value != nil {
			value := math.NaN()
			if string(each.Value) != "null" {
				value, _ = strconv.ParseFloat(string(each.Value), 64)
			}
			outcomes[place].Truth = value
		}
	}
	report, err := client.Feedback(ctx, r.Model, outcomes)
	if err != nil {
		return nil, err
	}
	problems := []object{}
	for _, problem := range report.Problems {
		problems = append(problems, object{"index": problem.Index, "result": problem.Result, "message": problem.Message})
	}
	return object{"joined": report.Joined, "unknown": report.Unknown, "late": report.Late, "duplicate": report.Duplicate,
		"contradictory": report.Contradictory, "invalid": report.Invalid, "problems": problems}, nil
}

// storm asks for rows whose answers differ from call to call, so that a swapped answer shows.
func storm(ctx context.Context, client *needletail.Client, r request) object {
	var group sync.WaitGroup
	var lock sync.Mutex
	wrong := 0
	for thread := 0; thread < r.Threads; thread++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for call := 0; call < r.Calls; call++ {
				row := []float32{10, 0, -3, 100}
				expected := float32(41.375)
				if call%2 > 0 {
					row[0], expected = 11, expected+1
				}
				if call%3 > 0 {
					row[3], expected = 101, expected+32
				}
				answer, err := client.Predict(ctx, needletail.Request{Model: "grid", Inputs: needletail.Rows([][]float32{row})})
				if err != nil || answer.Floats("prediction")[0] != expected {
					lock.Lock()
					wrong++
					lock.Unlock()
				}
			}
		}()
	}
	group.Wait()
	return object{"wrong": wrong}
}

func outcome(client *needletail.Client, r request, ctx context.Context) object {
	if r.hasTimeout {
		if r.TimeoutMs == nil {
			ctx = needletail.WithoutDeadline(ctx)
		} else {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(*r.TimeoutMs*float64(time.Millisecond)))
			defer cancel()
		}
	}
	answer, err := ask(ctx, client, r)
	if err != nil {
		return problem(err)
	}
	answer["ok"] = true
	return answer
}

func problem(err error) object {
	var own *needletail.Error
	if !errors.As(err, &own) {
		return object{"error": object{"code": "CANCELLED", "message": err.Error()}}
	}
	cause := []string{"status", "caller", "connect", "lost", "time", "protocol"}[own.Cause]
	found := object{"code": own.Code.String(), "cause": cause, "message": own.Message,
		"retry_after_us": own.RetryAfter.Microseconds(), "field": own.Detail.GetField()}
	if own.Detail.GetPlace() != nil {
		found["row"] = own.Detail.GetRow()
	}
	if limit := own.Detail.GetLimit(); limit != nil {
		found["limit"] = object{"name": limit.GetName(), "maximum": limit.GetMaximum(), "found": limit.GetFound()}
	}
	return object{"error": found}
}

type call struct {
	cancel context.CancelFunc
	answer chan object
}

func main() {
	clients := map[string]*needletail.Client{}
	calls := map[string]call{}
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var r request
		decoder := json.NewDecoder(strings.NewReader(string(line)))
		decoder.UseNumber()
		if err := decoder.Decode(&r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		r.hasTimeout = strings.Contains(string(line), `"timeout_ms"`)
		answer := object{"ok": true}
		client := clients[r.Client]
		switch r.Do {
		case "lacks":
			answer = object{"lacks": []string{}}
		case "open":
			made, err := open(r)
			if err != nil {
				answer = problem(err)
			}
			clients[r.Client] = made
		case "close":
			client.Close()
		case "start":
			ctx, cancel := context.WithCancel(context.Background())
			begun := call{cancel, make(chan object, 1)}
			calls[r.Call] = begun
			go func(r request) { begun.answer <- outcome(client, r, ctx) }(r)
		case "finish":
			answer = <-calls[r.Call].answer
		case "cancel":
			calls[r.Call].cancel()
		default:
			answer = outcome(client, r, context.Background())
		}
		text, err := json.Marshal(answer)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		fmt.Println(string(text))
	}
}
