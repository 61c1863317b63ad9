// Package needletail calls a Needletail inference server: slices in, slices out, any number of calls in flight.
//
//	client, err := needletail.Open("127.0.0.1:6470", needletail.Options{})
//	answer, err := client.Predict(ctx, needletail.Request{
//		Model:  "diabetes",
//		Inputs: needletail.Rows([][]float64{{59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.86, 87}}),
//	})
//	answer.Floats("prediction") // []float32{…}
package needletail

import (
	"context"
	"crypto/tls"
	"errors"
	"math"
	"math/rand"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	pb "needletail/v1"
)

// Client has a pool of connections. Any number of goroutines may share it.
type Client struct {
	where   address
	options Options
	config  *tls.Config

	lock       sync.Mutex
	pool       []*connection
	connecting int
	changed    chan struct{} // closed and made anew when a connection was made, or not
	budget     float64
	random     *rand.Rand
	isClosed   bool
}

// Open makes a client for a server at "host:port", "[v6]:port" or "unix:/path". Nothing is connected before the
// first call. An error means that the settings are wrong.
func Open(where string, options Options) (*Client, error) {
	options = options.withDefaults()
	if err := options.check(); err != nil {
		return nil, err
	}
	parsed, err := parseAddress(where)
	if err != nil {
		return nil, err
	}
	config, err := options.tlsConfig(parsed)
	if err != nil {
		return nil, err
	}
	return &Client{where: parsed, options: options, config: config, changed: make(chan struct{}),
		budget: options.Retries.BudgetBurst, random: rand.New(rand.NewSource(time.Now().UnixNano()))}, nil
}

// Close ends the connections. Calls under way fail.
func (c *Client) Close() error {
	c.lock.Lock()
	pool := c.pool
	c.pool, c.isClosed = nil, true
	c.lock.Unlock()
	for _, each := range pool {
		each.die(fail(Unavailable, ConnectionLost, "the client is closed"))
	}
	return nil
}

type noDeadline struct{}

// WithoutDeadline lets calls take as long as they take, where Options.Timeout would bound them.
func WithoutDeadline(ctx context.Context) context.Context {
	return context.WithValue(ctx, noDeadline{}, true)
}

// ask makes a call and its repetitions.
func (c *Client) ask(ctx context.Context, request *pb.Request) (*pb.Response, error) {
	body, err := proto.Marshal(request)
	if err != nil {
		return nil, fail(InvalidArgument, FromCaller, "request: expected UTF-8 in names, found %v", err)
	}
	// Id and time take up to 17 bytes more.
	if most := c.options.RequestBytesMax - 32; len(body) > most {
		return nil, fail(InvalidArgument, FromCaller,
			"request: expected at most %d bytes (RequestBytesMax), found %d; send fewer rows at once", most, len(body))
	}
	if _, ok := ctx.Deadline(); !ok && c.options.Timeout > 0 && ctx.Value(noDeadline{}) == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.options.Timeout)
		defer cancel()
	}
	c.lock.Lock()
	c.budget = math.Min(c.options.Retries.BudgetBurst, c.budget+c.options.Retries.BudgetRatio)
	c.lock.Unlock()
	for failed := 1; ; failed++ {
		response, failure := c.try(ctx, body)
		if failure == nil {
			return response, nil
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err()
		}
		wait, ok := c.pause(ctx, failure, failed)
		if !ok {
			return nil, failure
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, ctx.Err()
			}
			return nil, failure
		}
	}
}

func (c *Client) try(ctx context.Context, body []byte) (*pb.Response, *Error) {
	over, failure := c.take(ctx)
	if failure != nil {
		if ctx.Err() != nil && failure.Cause == ConnectionFailed {
			return nil, fail(DeadlineExceeded, TimeOver, "the time was over while connecting")
		}
		return nil, failure
	}
	response, failure := over.call(ctx, body)
	if failure == nil && response.GetStatus().GetCode() != pb.StatusCode_OK {
		failure = statusError(response.GetStatus())
	}
	return response, failure
}

// pause is the time to wait before the next attempt; false: there is none.
func (c *Client) pause(ctx context.Context, failure *Error, failed int) (time.Duration, bool) {
	policy := c.options.Retries
	isLost := failure.Cause == ConnectionLost
	if failed >= policy.Attempts || (failure.Code != Overloaded && failure.Code != Unavailable) ||
		(isLost && failure.Sent && policy.NotLost) {
		return 0, false
	}
	ceiling := math.Min(float64(policy.BackoffMax), math.Ldexp(float64(policy.Backoff), failed-1))
	c.lock.Lock()
	defer c.lock.Unlock()
	wait := failure.RetryAfter + time.Duration(c.random.Float64()*ceiling)
	// The deadline first: a retry that cannot happen must not cost the budget.
	if deadline, ok := ctx.Deadline(); (ok && time.Until(deadline) <= wait) || c.budget < 1 {
		return 0, false
	}
	c.budget--
	return wait, true
}

// take is a connection for one more call: that with the fewest in flight, or a new one where all are busy.
func (c *Client) take(ctx context.Context) (*connection, *Error) {
	c.lock.Lock()
	for {
		if c.isClosed {
			c.lock.Unlock()
			return nil, fail(InvalidArgument, FromCaller, "client: expected an open one, found a closed one")
		}
		var best *connection
		least := math.MaxInt
		usable := c.pool[:0]
		for _, each := range c.pool {
			load, ok := each.load()
			if !ok {
				continue // It closes when it has its answers.
			}
			usable = append(usable, each)
			if load < least {
				best, least = each, load
			}
		}
		c.pool = usable
		hasRoom := len(c.pool)+c.connecting < c.options.Connections
		if best != nil && (least < c.options.CallsPerConnection || !hasRoom) {
			c.lock.Unlock()
			return best, nil
		}
		if hasRoom {
			return c.connect(ctx)
		}
		changed := c.changed
		c.lock.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fail(DeadlineExceeded, TimeOver, "the time was over while connecting")
		}
		c.lock.Lock()
	}
}

// connect makes a connection; the lock is held, and released.
func (c *Client) connect(ctx context.Context) (*connection, *Error) {
	c.connecting++
	c.lock.Unlock()
	made, failure := dial(ctx, c.where, &c.options, c.config)
	c.lock.Lock()
	defer c.lock.Unlock()
	c.connecting--
	close(c.changed)
	c.changed = make(chan struct{})
	if failure != nil {
		return nil, failure
	}
	c.pool = append(c.pool, made)
	return made, nil
}
