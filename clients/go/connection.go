package needletail

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	pb "needletail/v1"
)

const (
	// silenceMax under a call that ran out of time is taken for the death of a connection.
	silenceMax = time.Second
	// abandonedMax answers of calls that were given up may a connection owe.
	abandonedMax = 4096
	// writesWaiting are frames that wait for the writer of a connection.
	writesWaiting = 64
	readBytes     = 64 << 10
)

// attempt is one call on one connection.
type attempt struct {
	id       uint64
	frame    []byte
	isSent   bool
	done     chan struct{}
	response *pb.Response
	err      *Error
}

// connection has a goroutine that reads and one that writes, so that neither waits for the other.
type connection struct {
	socket      net.Conn
	answerBytes int
	writes      chan *attempt
	closed      chan struct{}

	lock        sync.Mutex
	err         *Error // of a connection that is dead
	drains      bool   // no new call: the server stops, or refused a frame
	nextID      uint64
	calls       map[uint64]*attempt // nil: the caller has gone
	waiting     int
	silentSince time.Time
}

func dial(ctx context.Context, where address, options *Options, config *tls.Config) (*connection, *Error) {
	ctx, cancel := context.WithTimeout(ctx, options.ConnectTimeout)
	defer cancel()
	// net.Dialer tries the addresses of a name as RFC 8305 says, and sets TCP_NODELAY.
	dialer := net.Dialer{KeepAlive: 10 * time.Second}
	socket, err := dialer.DialContext(ctx, where.network, where.where)
	if err != nil {
		return nil, &Error{Code: Unavailable, Cause: ConnectionFailed, inner: err,
			Message: "could not connect to " + where.where + ": " + err.Error()}
	}
	if config != nil {
		encrypted := tls.Client(socket, config)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			socket.Close()
			return nil, &Error{Code: Unavailable, Cause: ConnectionFailed, inner: err,
				Message: "could not agree on TLS with " + where.where + ": " + err.Error()}
		}
		socket = encrypted
	}
	c := &connection{
		socket: socket, answerBytes: options.AnswerBytesMax, nextID: 1, silentSince: time.Now(),
		calls: map[uint64]*attempt{}, writes: make(chan *attempt, writesWaiting), closed: make(chan struct{}),
	}
	go c.read()
	go c.write()
	if options.APIKey != "" {
		body, _ := proto.Marshal(&pb.Request{
			Call: &pb.Request_Authenticate{Authenticate: &pb.AuthenticateRequest{ApiKey: options.APIKey}},
		})
		response, failure := c.call(ctx, body)
		if failure == nil && response.GetStatus().GetCode() != pb.StatusCode_OK {
			failure = statusError(response.GetStatus())
		}
		if failure != nil {
			c.die(failure)
			if failure.Cause == TimeOver {
				failure = fail(Unavailable, ConnectionFailed, "the server did not look at the key within the time given")
			}
			return nil, failure
		}
	}
	return c, nil
}

// call sends a request and waits for its answer, or for the end of the context.
func (c *connection) call(ctx context.Context, body []byte) (*pb.Response, *Error) {
	call := &attempt{done: make(chan struct{})}
	if err := c.begin(ctx, call, body); err != nil {
		return nil, err
	}
	select {
	case c.writes <- call:
	case <-call.done:
	case <-ctx.Done():
		err := c.abandon(call, ctx.Err())
		c.isWanted(call) // The writer never sees it.
		return nil, err
	}
	select {
	case <-call.done:
		return call.response, call.err
	case <-ctx.Done():
		return nil, c.abandon(call, ctx.Err())
	}
}

// begin gives the call an id and a frame.
func (c *connection) begin(ctx context.Context, call *attempt, body []byte) *Error {
	head := &pb.Request{}
	if deadline, ok := ctx.Deadline(); ok {
		// Less than a microsecond is sent as one, for 0 would be no deadline.
		left := time.Until(deadline).Microseconds()
		if left < 1 {
			left = 1
		} else if left > 1<<32-1 {
			left = 1<<32 - 1
		}
		head.TimeoutUs = uint32(left)
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.err != nil {
		return c.err
	}
	if c.drains {
		return fail(Unavailable, FromServer, "the server is stopping")
	}
	call.id = c.nextID
	c.nextID++
	head.Id = call.id
	// Joined protobuf messages are one merged message: only these few bytes differ between attempts.
	small, _ := proto.Marshal(head)
	call.frame = make([]byte, 4, 4+len(small)+len(body))
	binary.BigEndian.PutUint32(call.frame, uint32(len(small)+len(body)))
	call.frame = append(append(call.frame, small...), body...)
	if len(c.calls) == 0 {
		c.silentSince = time.Now()
	}
	c.calls[call.id] = call
	c.waiting++
	return nil
}

// abandon ends the wait for a call. Its answer is thrown away when it comes.
func (c *connection) abandon(call *attempt, why error) *Error {
	c.lock.Lock()
	if c.calls[call.id] == call {
		c.calls[call.id] = nil
		c.waiting--
	}
	isSilent := time.Since(c.silentSince) >= silenceMax
	isLoaded := len(c.calls)-c.waiting > abandonedMax
	isDone := c.drains && c.waiting == 0
	c.lock.Unlock()
	if isDone || (isSilent && errors.Is(why, context.DeadlineExceeded)) || isLoaded {
		c.die(fail(Unavailable, ConnectionLost, "the server was silent for a second or more"))
	}
	err := fail(DeadlineExceeded, TimeOver, "no answer within the time given")
	err.inner = why
	return err
}

// load is the number of calls that wait; false: the connection takes no more.
func (c *connection) load() (int, bool) {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.waiting, c.err == nil && !c.drains
}

// die ends the connection, and every call that waits on it.
func (c *connection) die(err *Error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.closed)
	c.socket.Close()
	c.endAbove(0, err)
}

// endAbove ends the calls above an id; the lock is held.
func (c *connection) endAbove(lastID uint64, err *Error) {
	for id, call := range c.calls {
		if call != nil && id > lastID {
			own := *err
			own.Sent = call.isSent
			call.err = &own
			c.calls[id] = nil
			c.waiting--
			close(call.done)
		}
	}
}

// isWanted tells whether somebody waits for a call, which counts as sent from here on: a server may read a request, and
// close, before the write of it has returned here. A call that was given up is not sent at all.
func (c *connection) isWanted(call *attempt) bool {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.calls[call.id] == call {
		call.isSent = true
		return true
	}
	delete(c.calls, call.id)
	return false
}

func (c *connection) write() {
	buffer := bufio.NewWriterSize(c.socket, readBytes)
	for {
		var call *attempt
		select {
		case call = <-c.writes:
		case <-c.closed:
			return
		}
		var err error
		if c.isWanted(call) {
			_, err = buffer.Write(call.frame)
		}
		if err == nil && len(c.writes) == 0 {
			err = buffer.Flush()
		}
		if err != nil {
			// A server that refuses a frame says why before it closes: the reader finds it, or the end. The last
			// frame is not whole, so that the server cannot run it.
			c.lock.Lock()
			call.isSent = false
			c.drains = true
			c.lock.Unlock()
			return
		}
	}
}

func (c *connection) read() {
	reader := bufio.NewReaderSize(c.socket, readBytes)
	for {
		var head [4]byte
		if _, err := io.ReadFull(reader, head[:]); err != nil {
			c.die(lost(err))
			return
		}
		length := binary.BigEndian.Uint32(head[:])
		if length == 0 || int64(length) > int64(c.answerBytes) {
			c.die(violation("frame length: expected 1 to %d bytes (AnswerBytesMax), found %d; is this the port of a "+
				"Needletail server?", c.answerBytes, length))
			return
		}
		payload, err := readGrowing(reader, int(length))
		if err != nil {
			c.die(lost(err))
			return
		}
		response := &pb.Response{}
		if err := proto.Unmarshal(payload, response); err != nil {
			c.die(violation("response: expected a needletail.v1.Response of %d bytes, found %v", length, err))
			return
		}
		if failure := c.take(response); failure != nil {
			c.die(failure)
			return
		}
	}
}

// readGrowing takes memory for what arrives, not for what a length promises.
func readGrowing(reader io.Reader, length int) ([]byte, error) {
	var payload []byte
	for len(payload) < length {
		piece := length - len(payload)
		if most := len(payload) + readBytes; piece > most {
			piece = most
		}
		start := len(payload)
		payload = append(payload, make([]byte, piece)...)
		if _, err := io.ReadFull(reader, payload[start:]); err != nil {
			return nil, err
		}
	}
	return payload, nil
}

// take gives a response to its call; an error is the end of the connection.
func (c *connection) take(response *pb.Response) *Error {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.silentSince = time.Now()
	if response.GetId() == 0 {
		return c.takeUnsolicited(response)
	}
	call, ok := c.calls[response.GetId()]
	if !ok {
		return violation("id: expected that of a call in flight, found %d", response.GetId())
	}
	delete(c.calls, response.GetId())
	if call != nil {
		c.waiting--
		call.response = response
		close(call.done)
	}
	return c.endIfDrained()
}

// endIfDrained closes a connection that takes no call and owes no answer.
func (c *connection) endIfDrained() *Error {
	if c.drains && c.waiting == 0 {
		return fail(Unavailable, FromServer, "the server is stopping")
	}
	return nil
}

// takeUnsolicited takes an answer without a call: a GoAway, or a frame that the server could not read.
func (c *connection) takeUnsolicited(response *pb.Response) *Error {
	c.drains = true
	if response.GetStatus().GetCode() != pb.StatusCode_OK {
		err := statusError(response.GetStatus())
		if c.waiting > 1 {
			return fail(Unavailable, ConnectionLost, "the server refused a frame: %s", err.Message)
		}
		c.endAbove(0, err)
		return c.endIfDrained()
	}
	if response.GetGoAway() == nil {
		return violation("id: expected that of a call, found 0 on something other than GoAway")
	}
	c.endAbove(response.GetGoAway().GetLastId(),
		fail(Unavailable, FromServer, "the server is stopping and did not execute the call"))
	return c.endIfDrained()
}

// lost is the error of a connection that ended.
func lost(err error) *Error {
	var operation *net.OpError
	isAlert := errors.As(err, &operation) && operation.Op == "remote error"
	if isAlert {
		// With TLS 1.3 a server looks at the client's certificate when the handshake is over for its client.
		return &Error{Code: Unauthenticated, Cause: ConnectionFailed, inner: err,
			Message: "the server refused the connection: " + err.Error()}
	}
	return &Error{Code: Unavailable, Cause: ConnectionLost, inner: err,
		Message: "the connection broke before the answer: " + err.Error()}
}
