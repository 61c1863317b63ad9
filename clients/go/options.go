package needletail

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Lengths of messages that the protocol allows.
const (
	requestBytesDefault = 16 << 20
	frameBytesCap       = 64 << 20
)

// Options are a client's settings. The zero value of each is its default.
type Options struct {
	// APIKey is shown on every connection.
	APIKey string
	// Timeout of a call, all its retries included, whose context has no deadline; 5 s. Negative: none.
	Timeout time.Duration
	// ConnectTimeout is the time for one connection, TLS and key included; 1 s.
	ConnectTimeout time.Duration
	// Connections is how many there may be; 4.
	Connections int
	// CallsPerConnection are in flight on one connection before another is made; 64.
	CallsPerConnection int
	// RequestBytesMax is the server's limits.frame_bytes_max; 16 MiB.
	RequestBytesMax int
	// AnswerBytesMax is 64 MiB, the most that a server sends.
	AnswerBytesMax int
	// Retries: see there.
	Retries *Retries
	// TLS: nil, calls are not encrypted.
	TLS *TLS
}

// Retries says what is asked again. Retried is what was certainly not executed, and, unless NotLost is set, a call
// whose connection broke under it: repeating it changes nothing on a server.
//
// The n-th retry waits the server's pause and a random time between 0 and min(BackoffMax, Backoff·2ⁿ). Over all calls
// of a client every call earns BudgetRatio of a retry, and at most BudgetBurst are saved up.
type Retries struct {
	// Attempts of one call, the first included; 1: never retry.
	Attempts    int
	Backoff     time.Duration
	BackoffMax  time.Duration
	BudgetRatio float64
	BudgetBurst float64
	NotLost     bool
}

// DefaultRetries is the policy of a client that is given none.
func DefaultRetries() *Retries {
	return &Retries{Attempts: 4, Backoff: 10 * time.Millisecond, BackoffMax: time.Second, BudgetRatio: 0.1, BudgetBurst: 10}
}

// TLS says how to make sure of the server, and how to show who the client is.
type TLS struct {
	// CA is a PEM file of who must have issued the server's certificate; empty: whom the system trusts.
	CA string
	// Certificate and Key are PEM files of the client's own certificate, for mutual TLS.
	Certificate, Key string
	// ServerName is the name that the server's certificate must carry; empty: the host of the address.
	ServerName string
	// Config replaces all of the above, for certificates that change or stand elsewhere.
	Config *tls.Config
}

func (options Options) withDefaults() Options {
	if options.Timeout == 0 {
		options.Timeout = 5 * time.Second
	}
	if options.ConnectTimeout == 0 {
		options.ConnectTimeout = time.Second
	}
	if options.Connections == 0 {
		options.Connections = 4
	}
	if options.CallsPerConnection == 0 {
		options.CallsPerConnection = 64
	}
	if options.RequestBytesMax == 0 {
		options.RequestBytesMax = requestBytesDefault
	}
	if options.AnswerBytesMax == 0 {
		options.AnswerBytesMax = frameBytesCap
	}
	if options.Retries == nil {
		options.Retries = DefaultRetries()
	}
	return options
}

func (options Options) check() *Error {
	retries := options.Retries
	switch {
	case options.Connections < 1 || options.CallsPerConnection < 1:
		return fail(InvalidArgument, FromCaller, "connections: expected at least 1, found %d and %d",
			options.Connections, options.CallsPerConnection)
	case options.ConnectTimeout < 0:
		return fail(InvalidArgument, FromCaller, "ConnectTimeout: expected a time above 0, found %v", options.ConnectTimeout)
	case options.RequestBytesMax < 1024 || options.RequestBytesMax > frameBytesCap:
		return fail(InvalidArgument, FromCaller, "RequestBytesMax: expected 1024 to %d, found %d",
			frameBytesCap, options.RequestBytesMax)
	case options.AnswerBytesMax < 1 || options.AnswerBytesMax > frameBytesCap:
		return fail(InvalidArgument, FromCaller, "AnswerBytesMax: expected 1 to %d, found %d",
			frameBytesCap, options.AnswerBytesMax)
	case retries.Attempts < 1 || retries.Backoff < 0 || retries.BackoffMax < retries.Backoff ||
		retries.BudgetRatio < 0 || retries.BudgetBurst < 0:
		return fail(InvalidArgument, FromCaller, "Retries: expected at least 1 attempt, Backoff up to BackoffMax and "+
			"no negative budget, found %+v", *retries)
	}
	return nil
}

// address is where a server listens: a network and an address of package net, and the host's name.
type address struct {
	network, where, host string
}

func parseAddress(text string) (address, *Error) {
	if path := strings.TrimPrefix(text, "unix:"); path != text {
		if path == "" {
			return address{}, fail(InvalidArgument, FromCaller, "address: expected a path after 'unix:', found %q", text)
		}
		return address{"unix", path, ""}, nil
	}
	host, port, err := net.SplitHostPort(text)
	number, wrong := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || wrong != nil || number == 0 {
		return address{}, fail(InvalidArgument, FromCaller,
			"address: expected 'host:port', '[v6]:port' or 'unix:/path', found %q", text)
	}
	return address{"tcp", text, host}, nil
}

func (options Options) tlsConfig(where address) (*tls.Config, *Error) {
	wanted := options.TLS
	if wanted == nil {
		return nil, nil
	}
	if where.network == "unix" {
		return nil, fail(InvalidArgument, FromCaller,
			"TLS: expected a TCP address, found a Unix socket, over which calls are not encrypted")
	}
	if wanted.Config != nil {
		config := wanted.Config.Clone()
		if config.ServerName == "" {
			config.ServerName = where.host
		}
		return config, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: wanted.ServerName}
	if config.ServerName == "" {
		config.ServerName = where.host
	}
	if wanted.CA != "" {
		text, err := os.ReadFile(wanted.CA)
		if err != nil {
			return nil, fail(InvalidArgument, FromCaller, "TLS: expected a readable CA file, found: %v", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fail(InvalidArgument, FromCaller, "TLS: expected certificates (PEM) in %s, found none", wanted.CA)
		}
	}
	if (wanted.Certificate == "") != (wanted.Key == "") {
		return nil, fail(InvalidArgument, FromCaller, "TLS: expected a certificate and its key, found one of them")
	}
	if wanted.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(wanted.Certificate, wanted.Key)
		if err != nil {
			return nil, fail(InvalidArgument, FromCaller, "TLS: expected a certificate and its key, found: %v", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
