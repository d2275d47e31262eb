// Package client connects to apitokend the way a program should: with the published service config, and over TLS with a
// bearer credential wherever it is not a development server on this machine.
package client

import (
	"context"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// FromEnv reads APITOKEN_SERVER, APITOKEN_CA_FILE (none: plaintext), APITOKEN_TOKEN (a JWT or an API token) and
// APITOKEN_SERVICE_CONFIG.
func FromEnv() (Options, error) {
	config, err := os.ReadFile(env("APITOKEN_SERVICE_CONFIG", "../service-config.json"))
	return Options{
		Server:        env("APITOKEN_SERVER", "127.0.0.1:50051"),
		CAFile:        os.Getenv("APITOKEN_CA_FILE"),
		Token:         os.Getenv("APITOKEN_TOKEN"),
		ServiceConfig: string(config),
	}, err
}

// Options says where the server is and who calls.
type Options struct {
	Server        string
	CAFile        string
	Token         string
	ServiceConfig string
}

// Open makes a connection; it connects with the first call.
func (o Options) Open() (*grpc.ClientConn, error) {
	options := []grpc.DialOption{grpc.WithDefaultServiceConfig(o.ServiceConfig), grpc.WithDisableServiceConfig()}
	if o.CAFile == "" {
		return grpc.NewClient(o.Server, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	}
	tls, err := credentials.NewClientTLSFromFile(o.CAFile, "")
	if err != nil {
		return nil, err
	}
	options = append(options, grpc.WithTransportCredentials(tls))
	if o.Token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(o.Token)))
	}
	return grpc.NewClient(o.Server, options...)
}

// bearer is the credential of every call. gRPC refuses to send it over plaintext.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
