package example.apitoken;

import com.google.protobuf.Duration;
import com.google.protobuf.util.Durations;
import com.google.protobuf.util.Timestamps;
import example.apitoken.v1.ApiToken;
import example.apitoken.v1.ApiTokenServiceGrpc;
import example.apitoken.v1.ApiTokenServiceGrpc.ApiTokenServiceBlockingStub;
import example.apitoken.v1.CreateTokenRequest;
import example.apitoken.v1.CreateTokenResponse;
import example.apitoken.v1.GetTokenRequest;
import example.apitoken.v1.ListTokensRequest;
import example.apitoken.v1.ListTokensResponse;
import example.apitoken.v1.RenewTokenRequest;
import example.apitoken.v1.RenewTokenResponse;
import example.apitoken.v1.RevokeTokenRequest;
import example.apitoken.v1.TokenVerificationServiceGrpc;
import example.apitoken.v1.TokenVerificationServiceGrpc.TokenVerificationServiceBlockingStub;
import example.apitoken.v1.VerifyTokenRequest;
import example.apitoken.v1.VerifyTokenResponse;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/** Calls every method that most programs need, and prints what it saw. */
public final class Tour {
  private static final long TIMEOUT_SECONDS = 5;

  private final ApiTokenServiceBlockingStub tokens;
  private final TokenVerificationServiceBlockingStub verification;

  private Tour(ManagedChannel channel) {
    tokens = ApiTokenServiceGrpc.newBlockingStub(channel);
    verification = TokenVerificationServiceGrpc.newBlockingStub(channel);
  }

  public static void main(String[] args) throws IOException {
    ManagedChannel channel = Connection.open();
    try {
      new Tour(channel).run();
    } finally {
      channel.shutdownNow();
    }
  }

  private void run() throws IOException {
    List<String> created = create();
    list();
    String current = renew();
    revoke("tour-5");
    verify("the current token", current);
    verify("the previous token", created.get(0));
    verify("a revoked token", created.get(4));
    verify("what is no token", current + "x");
    refusals();
    if (!Connection.CA_FILE.isEmpty()) asTokenItself(current);
    for (String name : List.of("tour-1", "tour-2", "tour-3", "tour-4")) revoke(name);
  }

  /** The deadline starts here, so a stub with one is for one call only. */
  private ApiTokenServiceBlockingStub tokens() {
    return tokens.withDeadlineAfter(TIMEOUT_SECONDS, TimeUnit.SECONDS);
  }

  /** Five tokens. A request_id makes each call safe to retry, by the service config or by you. */
  private List<String> create() {
    List<String> secrets = new ArrayList<>();
    for (int i = 1; i <= 5; i++) {
      CreateTokenRequest request =
          CreateTokenRequest.newBuilder()
              .setName("tour-" + i)
              .setTtl(Durations.fromHours(1))
              .setRequestId(UUID.randomUUID().toString())
              .build();
      CreateTokenResponse created = tokens().createToken(request);
      ApiToken token = created.getApiToken();
      Duration lifetime = Timestamps.between(token.getCreateTime(), token.getExpireTime());
      print("created %s: generation %d, lives %d s", token.getName(), token.getGeneration(), lifetime.getSeconds());
      secrets.add(created.getToken());
    }
    return secrets;
  }

  /** Page after page until there is no next one. */
  private void list() {
    ListTokensRequest.Builder request = ListTokensRequest.newBuilder().setPageSize(2);
    do {
      ListTokensResponse page = tokens().listTokens(request.build());
      print("page: %s", String.join(" ", page.getApiTokensList().stream().map(ApiToken::getName).toList()));
      request.setPageToken(page.getNextPageToken());
    } while (!request.getPageToken().isEmpty());
  }

  /** The same call twice, as a client makes it that lost the first answer. */
  private String renew() {
    RenewTokenRequest request =
        RenewTokenRequest.newBuilder()
            .setName("tour-1")
            .setGracePeriod(Durations.fromMinutes(1))
            .setRequestId(UUID.randomUUID().toString())
            .build();
    RenewTokenResponse first = tokens().renewToken(request);
    ApiToken token = first.getApiToken();
    Duration grace = Timestamps.between(token.getCreateTime(), token.getPreviousSecretExpireTime());
    print(
        "renewed %s: generation %d, the old secret works for %d s",
        token.getName(), token.getGeneration(), grace.getSeconds());
    RenewTokenResponse second = tokens().renewToken(request);
    boolean same = first.getToken().equals(second.getToken());
    print("renewed with the same request_id: same token %b, replayed %b", same, second.getReplayed());
    return second.getToken();
  }

  /** Asks as a gateway does. A dead token is an answer; an error means that nothing is known: let nobody in. */
  private void verify(String title, String token) {
    VerifyTokenRequest request = VerifyTokenRequest.newBuilder().setToken(token).build();
    try {
      VerifyTokenResponse answer =
          verification.withDeadlineAfter(TIMEOUT_SECONDS, TimeUnit.SECONDS).verifyToken(request);
      if (answer.getActive()) {
        print("verified %s: %s of %s", title, answer.getSecret(), answer.getApiToken().getName());
      } else {
        print("verified %s: %s", title, answer.getReason());
      }
    } catch (StatusRuntimeException error) {
      print("verified %s: %s", title, Refusal.of(error));
    }
  }

  /** Calls that fail, each in its own way. */
  private void refusals() {
    GetTokenRequest there = GetTokenRequest.newBuilder().setName("tour-1").build();
    GetTokenRequest notThere = GetTokenRequest.newBuilder().setName("tour-6").build();
    RenewTokenRequest bad = RenewTokenRequest.newBuilder().setGracePeriod(Durations.fromDays(8)).build();
    print("refused a name that is not there: %s", refusalOf(() -> tokens().getToken(notThere)));
    print("refused two bad fields: %s", refusalOf(() -> tokens().renewToken(bad)));
    ApiTokenServiceBlockingStub late = tokens.withDeadlineAfter(-1, TimeUnit.SECONDS);
    print("out of time: %s", refusalOf(() -> late.getToken(there)).code());
  }

  /** Calls with the API token as its own credential. */
  private static void asTokenItself(String credential) throws IOException {
    ManagedChannel channel = Connection.open(credential);
    try {
      Tour itself = new Tour(channel);
      GetTokenRequest request = GetTokenRequest.newBuilder().setName("tour-1").build();
      ApiToken token = itself.tokens().getToken(request).getApiToken();
      print("as the token itself: %s, generation %d", token.getName(), token.getGeneration());
      CreateTokenRequest another =
          CreateTokenRequest.newBuilder().setName("tour-6").setRequestId(UUID.randomUUID().toString()).build();
      print("refused a token that would create: %s", refusalOf(() -> itself.tokens().createToken(another)));
    } finally {
      channel.shutdownNow();
    }
  }

  /** The service config does not retry it: after UNAVAILABLE retry, and take NOT_FOUND for success. */
  private void revoke(String name) {
    RevokeTokenRequest request = RevokeTokenRequest.newBuilder().setName(name).build();
    print("revoked %s", tokens().revokeToken(request).getApiToken().getName());
  }

  private static Refusal refusalOf(Runnable call) {
    try {
      call.run();
    } catch (StatusRuntimeException error) {
      return Refusal.of(error);
    }
    throw new IllegalStateException("the call was not refused");
  }

  private static void print(String format, Object... values) {
    System.out.println(format.formatted(values));
  }
}
