// Command vectors makes the calls of the vector files named on the command line, and prints the outcome of each.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"example.com/apitoken/client"
	apitokenv1 "example.com/apitoken/gen/apitoken/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const timeout = 10 * time.Second

// A file has one of the four lists.
type file struct {
	Tokens    []struct{ ID, Token string }
	Names     []struct{ ID, Name string }
	PageSizes []struct {
		ID       string
		PageSize int32 `json:"page_size"`
	} `json:"page_sizes"`
	Calls []struct {
		ID     string
		Before []call
		call
	}
}

type call struct {
	Method  string
	Request json.RawMessage
}

type caller struct {
	tokens       apitokenv1.ApiTokenServiceClient
	verification apitokenv1.TokenVerificationServiceClient
}

func main() {
	log.SetFlags(0)
	options, err := client.FromEnv()
	if err != nil {
		log.Fatal("vectors: ", err)
	}
	conn, err := options.Open()
	if err != nil {
		log.Fatal("vectors: ", err)
	}
	defer conn.Close()
	c := caller{apitokenv1.NewApiTokenServiceClient(conn), apitokenv1.NewTokenVerificationServiceClient(conn)}
	for _, path := range os.Args[1:] {
		if err := c.runFile(path); err != nil {
			log.Fatalf("vectors: %s: %v", path, err)
		}
	}
}

func (c caller) runFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var vectors file
	if err := json.Unmarshal(text, &vectors); err != nil {
		return err
	}
	for _, v := range vectors.Tokens {
		fmt.Printf("token, %s: %s\n", v.ID, outcome(c.verify(v.Token)))
	}
	for _, v := range vectors.Names {
		fmt.Printf("name, %s: %s\n", v.ID, outcome(c.createNamed(v.Name)))
	}
	if len(vectors.PageSizes) > 0 {
		for i := 1; i <= 5; i++ {
			if _, err := c.createNamed(fmt.Sprintf("page-%d", i)); err != nil {
				return err
			}
		}
	}
	for _, v := range vectors.PageSizes {
		fmt.Printf("page size, %s: %s\n", v.ID, outcome(c.pages(v.PageSize)))
	}
	for _, v := range vectors.Calls {
		fmt.Printf("call, %s: %s\n", v.ID, outcome(c.sequence(append(v.Before, v.call))))
	}
	return nil
}

func outcome(answer string, err error) string {
	if err != nil {
		return client.RefusalOf(err).String()
	}
	return answer
}

func (c caller) verify(token string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	answer, err := c.verification.VerifyToken(ctx, &apitokenv1.VerifyTokenRequest{Token: token})
	return answer.GetReason().String(), err
}

func (c caller) createNamed(name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	created, err := c.tokens.CreateToken(ctx, &apitokenv1.CreateTokenRequest{Name: name})
	if created.GetApiToken().GetName() != name {
		return "another name", err
	}
	return "created", err
}

func (c caller) pages(size int32) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var lengths []string
	request := &apitokenv1.ListTokensRequest{PageSize: size}
	for {
		page, err := c.tokens.ListTokens(ctx, request)
		if err != nil {
			return "", err
		}
		lengths = append(lengths, fmt.Sprint(len(page.GetApiTokens())))
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return strings.Join(lengths, " "), nil
		}
	}
}

// sequence ends at the first refusal.
func (c caller) sequence(calls []call) (string, error) {
	token := ""
	for _, next := range calls {
		answer, err := c.call(next.Method, strings.ReplaceAll(string(next.Request), "$TOKEN", token))
		if err != nil {
			return "", err
		}
		if holder, ok := answer.(interface{ GetToken() string }); ok {
			token = holder.GetToken()
		}
	}
	return "answered", nil
}

func (c caller) call(method, request string) (proto.Message, error) {
	switch method {
	case "CreateToken":
		return send(c.tokens.CreateToken, &apitokenv1.CreateTokenRequest{}, request)
	case "GetToken":
		return send(c.tokens.GetToken, &apitokenv1.GetTokenRequest{}, request)
	case "ListTokens":
		return send(c.tokens.ListTokens, &apitokenv1.ListTokensRequest{}, request)
	case "RenewToken":
		return send(c.tokens.RenewToken, &apitokenv1.RenewTokenRequest{}, request)
	case "RevokeToken":
		return send(c.tokens.RevokeToken, &apitokenv1.RevokeTokenRequest{}, request)
	case "ListTokenEvents":
		return send(c.tokens.ListTokenEvents, &apitokenv1.ListTokenEventsRequest{}, request)
	case "VerifyToken":
		return send(c.verification.VerifyToken, &apitokenv1.VerifyTokenRequest{}, request)
	}
	return nil, fmt.Errorf("no method %s", method)
}

func send[Request, Response proto.Message](
	method func(context.Context, Request, ...grpc.CallOption) (Response, error), request Request, text string,
) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := protojson.Unmarshal([]byte(text), request); err != nil {
		return nil, err
	}
	return method(ctx, request)
}
