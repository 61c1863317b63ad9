package needletail

import (
	"bytes"
	"encoding/binary"
	"math"
	"sort"
	"unicode/utf8"

	pb "needletail/v1"
)

// featuresName is the tensor that holds all features of all rows.
const featuresName = "features"

// Element is what rows are made of. A missing value is NaN or "".
type Element interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | int | bool | string
}

// Inputs of a prediction: Rows, Matrix or Columns.
type Inputs interface {
	tensors() ([]*pb.Tensor, *Error)
}

// Columns are features by name, each a slice of float32, float64, int, int8, int16, int32, int64, uint8, bool or
// string with one element a row, in any order. Categorical features are strings; a missing value is NaN or "".
type Columns map[string]any

type dense struct {
	rows, columns int
	values        any
	problem       *Error
}

// Rows are all features of all rows, in the model's order.
func Rows[T Element](rows [][]T) Inputs {
	if len(rows) == 0 {
		return dense{}
	}
	columns := len(rows[0])
	flat := make([]T, 0, len(rows)*columns)
	for place, row := range rows {
		if len(row) != columns {
			return dense{problem: fail(InvalidArgument, FromCaller,
				"inputs: expected %d features in row %d like in row 0, found %d", columns, place, len(row))}
		}
		flat = append(flat, row...)
	}
	return dense{rows: len(rows), columns: columns, values: flat}
}

// Matrix is the same in one slice, row after row.
func Matrix[T Element](columns int, values []T) Inputs {
	if columns < 1 || len(values)%columns != 0 {
		return dense{problem: fail(InvalidArgument, FromCaller,
			"inputs: expected whole rows of %d features, found %d values", columns, len(values))}
	}
	return dense{rows: len(values) / columns, columns: columns, values: values}
}

func (inputs dense) tensors() ([]*pb.Tensor, *Error) {
	if inputs.problem != nil {
		return nil, inputs.problem
	}
	tensor, count, err := encode(featuresName, inputs.values)
	if err != nil {
		return nil, err
	}
	if count == 0 {
		return nil, fail(InvalidArgument, FromCaller, "inputs: expected at least one row and one feature, found none")
	}
	tensor.Shape = []uint64{uint64(inputs.rows), uint64(inputs.columns)}
	return []*pb.Tensor{tensor}, nil
}

func (columns Columns) tensors() ([]*pb.Tensor, *Error) {
	names := make([]string, 0, len(columns))
	for name := range columns {
		names = append(names, name)
	}
	sort.Strings(names)
	var tensors []*pb.Tensor
	rows := -1
	for _, name := range names {
		tensor, count, err := encode(name, columns[name])
		if err != nil {
			return nil, err
		}
		if rows < 0 {
			rows = count
		}
		if count != rows || count == 0 {
			return nil, fail(InvalidArgument, FromCaller, "column %q: expected %d rows like column %q, and at least one, "+
				"found %d", name, rows, names[0], count)
		}
		tensor.Shape = []uint64{uint64(count)}
		tensors = append(tensors, tensor)
	}
	if len(tensors) == 0 {
		return nil, fail(InvalidArgument, FromCaller, "inputs: expected at least one column, found none")
	}
	return tensors, nil
}

// encode makes a tensor without a shape, and counts its elements.
func encode(name string, values any) (*pb.Tensor, int, *Error) {
	tensor := &pb.Tensor{Name: name}
	numbers := func(kind pb.DataType, count int, values any) (*pb.Tensor, int, *Error) {
		var buffer bytes.Buffer
		if err := binary.Write(&buffer, binary.LittleEndian, values); err != nil {
			return nil, 0, fail(InvalidArgument, FromCaller, "column %q: %v", name, err)
		}
		tensor.Type, tensor.Data = kind, buffer.Bytes()
		return tensor, count, nil
	}
	switch typed := values.(type) {
	case nil:
		return tensor, 0, nil
	case []float32:
		data := make([]byte, 4*len(typed))
		for place, value := range typed {
			binary.LittleEndian.PutUint32(data[4*place:], math.Float32bits(value))
		}
		tensor.Type, tensor.Data = pb.DataType_FLOAT32, data
		return tensor, len(typed), nil
	case []float64:
		data := make([]byte, 8*len(typed))
		for place, value := range typed {
			binary.LittleEndian.PutUint64(data[8*place:], math.Float64bits(value))
		}
		tensor.Type, tensor.Data = pb.DataType_FLOAT64, data
		return tensor, len(typed), nil
	case []int:
		wide := make([]int64, len(typed))
		for place, value := range typed {
			wide[place] = int64(value)
		}
		return numbers(pb.DataType_INT64, len(typed), wide)
	case []int8:
		return numbers(pb.DataType_INT8, len(typed), typed)
	case []int16:
		return numbers(pb.DataType_INT16, len(typed), typed)
	case []int32:
		return numbers(pb.DataType_INT32, len(typed), typed)
	case []int64:
		return numbers(pb.DataType_INT64, len(typed), typed)
	case []uint8:
		return numbers(pb.DataType_UINT8, len(typed), typed)
	case []bool:
		return numbers(pb.DataType_BOOL, len(typed), typed)
	case []string:
		tensor.Type = pb.DataType_STRING
		tensor.Strings = make([][]byte, len(typed))
		for place, value := range typed {
			tensor.Strings[place] = []byte(value)
		}
		return tensor, len(typed), nil
	}
	return nil, 0, fail(InvalidArgument, FromCaller,
		"column %q: expected a slice of numbers, booleans or strings, found %T", name, values)
}

// Output is what a model said under one name.
type Output struct {
	Name string
	// Type as the protocol names it: FLOAT32, INT64, STRING and so on.
	Type  string
	Shape []int
	// Values, row after row: []float32, []int64, []string and so on.
	Values any
}

func decode(tensor *pb.Tensor) (Output, *Error) {
	output := Output{Name: tensor.GetName(), Type: tensor.GetType().String(), Shape: make([]int, len(tensor.GetShape()))}
	count := uint64(1)
	for place, size := range tensor.GetShape() {
		// No frame holds more, whatever else the shape says.
		if size > frameBytesCap || count*size > frameBytesCap {
			return output, violation("output %q: expected a shape that a frame can hold, found %v", output.Name, tensor.GetShape())
		}
		count *= size
		output.Shape[place] = int(size)
	}
	data := tensor.GetData()
	wrong := func(size uint64) *Error {
		if uint64(len(data)) == count*size {
			return nil
		}
		return violation("output %q: expected %d bytes for shape %v, found %d", output.Name, count*size, output.Shape, len(data))
	}
	read := func(size uint64, values any) (Output, *Error) {
		if err := wrong(size); err != nil {
			return output, err
		}
		if err := binary.Read(bytes.NewReader(data), binary.LittleEndian, values); err != nil {
			return output, violation("output %q: %v", output.Name, err)
		}
		output.Values = values
		return output, nil
	}
	switch tensor.GetType() {
	case pb.DataType_FLOAT32:
		if err := wrong(4); err != nil {
			return output, err
		}
		values := make([]float32, count)
		for place := range values {
			values[place] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*place:]))
		}
		output.Values = values
		return output, nil
	case pb.DataType_STRING:
		if uint64(len(tensor.GetStrings())) != count {
			return output, violation("output %q: expected %d strings for shape %v, found %d",
				output.Name, count, output.Shape, len(tensor.GetStrings()))
		}
		values := make([]string, count)
		for place, text := range tensor.GetStrings() {
			if !utf8.Valid(text) {
				return output, violation("output %q: expected UTF-8 in element %d, found other bytes", output.Name, place)
			}
			values[place] = string(text)
		}
		output.Values = values
		return output, nil
	}
	sizes := map[pb.DataType]uint64{pb.DataType_FLOAT64: 8, pb.DataType_INT8: 1, pb.DataType_INT16: 2,
		pb.DataType_INT32: 4, pb.DataType_INT64: 8, pb.DataType_UINT8: 1, pb.DataType_BOOL: 1}
	size, ok := sizes[tensor.GetType()]
	if !ok {
		return output, violation("output %q: expected a known element type, found %d", output.Name, int(tensor.GetType()))
	}
	// The bytes are counted before memory is taken for their elements.
	if err := wrong(size); err != nil {
		return output, err
	}
	switch tensor.GetType() {
	case pb.DataType_FLOAT64:
		return read(size, make([]float64, count))
	case pb.DataType_INT8:
		return read(size, make([]int8, count))
	case pb.DataType_INT16:
		return read(size, make([]int16, count))
	case pb.DataType_INT32:
		return read(size, make([]int32, count))
	case pb.DataType_INT64:
		return read(size, make([]int64, count))
	case pb.DataType_BOOL:
		return read(size, make([]bool, count))
	default:
		return read(size, make([]uint8, count))
	}
}
