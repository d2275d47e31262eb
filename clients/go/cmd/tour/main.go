// Command tour calls every method that most programs need, and prints what it saw.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"example.com/apitoken/client"
	apitokenv1 "example.com/apitoken/gen/apitoken/v1"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
)

const timeout = 5 * time.Second

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal("tour: ", err)
	}
}

func run() error {
	options, err := client.FromEnv()
	if err != nil {
		return err
	}
	conn, err := options.Open()
	if err != nil {
		return err
	}
	defer conn.Close()
	tokens := apitokenv1.NewApiTokenServiceClient(conn)
	verification := apitokenv1.NewTokenVerificationServiceClient(conn)

	// The limit is for the whole tour; each call below has one of its own, too.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	created, err := create(ctx, tokens)
	if err != nil {
		return err
	}
	if err := list(ctx, tokens); err != nil {
		return err
	}
	current, err := renew(ctx, tokens)
	if err != nil {
		return err
	}
	if err := revoke(ctx, tokens, "tour-5"); err != nil {
		return err
	}
	for _, question := range []struct{ title, token string }{
		{"the current token", current},
		{"the previous token", created[0]},
		{"a revoked token", created[4]},
		{"what is no token", current + "x"},
	} {
		verify(ctx, verification, question.title, question.token)
	}
	refusals(ctx, tokens)
	if options.CAFile != "" {
		if err := asTokenItself(ctx, options, current); err != nil {
			return err
		}
	}
	for _, name := range []string{"tour-1", "tour-2", "tour-3", "tour-4"} {
		if err := revoke(ctx, tokens, name); err != nil {
			return err
		}
	}
	return nil
}

// create makes five tokens. A request_id makes each call safe to retry, by the service config or by you.
func create(ctx context.Context, tokens apitokenv1.ApiTokenServiceClient) ([]string, error) {
	var secrets []string
	for i := 1; i <= 5; i++ {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		created, err := tokens.CreateToken(ctx, &apitokenv1.CreateTokenRequest{
			Name:      fmt.Sprintf("tour-%d", i),
			Ttl:       durationpb.New(time.Hour),
			RequestId: uuid.NewString(),
		})
		cancel()
		if err != nil {
			return nil, err
		}
		token := created.GetApiToken()
		lifetime := token.GetExpireTime().AsTime().Sub(token.GetCreateTime().AsTime())
		fmt.Printf("created %s: generation %d, lives %.0f s\n", token.GetName(), token.GetGeneration(), lifetime.Seconds())
		secrets = append(secrets, created.GetToken())
	}
	return secrets, nil
}

// list reads page after page until there is no next one.
func list(ctx context.Context, tokens apitokenv1.ApiTokenServiceClient) error {
	request := &apitokenv1.ListTokensRequest{PageSize: 2}
	for {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		page, err := tokens.ListTokens(ctx, request)
		cancel()
		if err != nil {
			return err
		}
		fmt.Print("page:")
		for _, token := range page.GetApiTokens() {
			fmt.Print(" ", token.GetName())
		}
		fmt.Println()
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return nil
		}
	}
}

// renew makes the same call twice, as a client does that lost the first answer.
func renew(ctx context.Context, tokens apitokenv1.ApiTokenServiceClient) (string, error) {
	request := &apitokenv1.RenewTokenRequest{
		Name:        "tour-1",
		GracePeriod: durationpb.New(time.Minute),
		RequestId:   uuid.NewString(),
	}
	ctx, cancel := context.WithTimeout(ctx, 2*timeout)
	defer cancel()
	first, err := tokens.RenewToken(ctx, request)
	if err != nil {
		return "", err
	}
	token := first.GetApiToken()
	grace := token.GetPreviousSecretExpireTime().AsTime().Sub(token.GetCreateTime().AsTime())
	fmt.Printf("renewed %s: generation %d, the old secret works for %.0f s\n", token.GetName(), token.GetGeneration(), grace.Seconds())
	second, err := tokens.RenewToken(ctx, request)
	if err != nil {
		return "", err
	}
	fmt.Printf("renewed with the same request_id: same token %t, replayed %t\n", first.GetToken() == second.GetToken(), second.GetReplayed())
	return second.GetToken(), nil
}

// verify asks as a gateway does. A dead token is an answer; an error means that nothing is known: let nobody in.
func verify(ctx context.Context, verification apitokenv1.TokenVerificationServiceClient, title, token string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := verification.VerifyToken(ctx, &apitokenv1.VerifyTokenRequest{Token: token})
	switch {
	case err != nil:
		fmt.Printf("verified %s: %s\n", title, client.RefusalOf(err))
	case answer.GetActive():
		fmt.Printf("verified %s: %s of %s\n", title, answer.GetSecret(), answer.GetApiToken().GetName())
	default:
		fmt.Printf("verified %s: %s\n", title, answer.GetReason())
	}
}

// refusals makes calls that fail, each in its own way.
func refusals(ctx context.Context, tokens apitokenv1.ApiTokenServiceClient) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := tokens.GetToken(ctx, &apitokenv1.GetTokenRequest{Name: "tour-6"})
	fmt.Printf("refused a name that is not there: %s\n", client.RefusalOf(err))
	_, err = tokens.RenewToken(ctx, &apitokenv1.RenewTokenRequest{GracePeriod: durationpb.New(8 * 24 * time.Hour)})
	fmt.Printf("refused two bad fields: %s\n", client.RefusalOf(err))
	passed, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
	defer cancel()
	_, err = tokens.GetToken(passed, &apitokenv1.GetTokenRequest{Name: "tour-1"})
	fmt.Printf("out of time: %s\n", client.RefusalOf(err).Code)
}

// asTokenItself calls with the API token as its own credential.
func asTokenItself(ctx context.Context, options client.Options, token string) error {
	options.Token = token
	conn, err := options.Open()
	if err != nil {
		return err
	}
	defer conn.Close()
	tokens := apitokenv1.NewApiTokenServiceClient(conn)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	itself, err := tokens.GetToken(ctx, &apitokenv1.GetTokenRequest{Name: "tour-1"})
	if err != nil {
		return err
	}
	fmt.Printf("as the token itself: %s, generation %d\n", itself.GetApiToken().GetName(), itself.GetApiToken().GetGeneration())
	_, err = tokens.CreateToken(ctx, &apitokenv1.CreateTokenRequest{Name: "tour-6", RequestId: uuid.NewString()})
	fmt.Printf("refused a token that would create: %s\n", client.RefusalOf(err))
	return nil
}

// revoke ends a token. The service config does not retry it: after UNAVAILABLE retry, and take NOT_FOUND for success.
func revoke(ctx context.Context, tokens apitokenv1.ApiTokenServiceClient, name string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	revoked, err := tokens.RevokeToken(ctx, &apitokenv1.RevokeTokenRequest{Name: name})
	if err != nil {
		return err
	}
	fmt.Printf("revoked %s\n", revoked.GetApiToken().GetName())
	return nil
}
