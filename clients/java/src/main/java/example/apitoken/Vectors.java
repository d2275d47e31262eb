package example.apitoken;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import example.apitoken.v1.ApiTokenServiceGrpc;
import example.apitoken.v1.ApiTokenServiceGrpc.ApiTokenServiceBlockingStub;
import example.apitoken.v1.CreateTokenRequest;
import example.apitoken.v1.CreateTokenResponse;
import example.apitoken.v1.GetTokenRequest;
import example.apitoken.v1.ListTokenEventsRequest;
import example.apitoken.v1.ListTokensRequest;
import example.apitoken.v1.ListTokensResponse;
import example.apitoken.v1.RenewTokenRequest;
import example.apitoken.v1.RenewTokenResponse;
import example.apitoken.v1.RevokeTokenRequest;
import example.apitoken.v1.TokenVerificationServiceGrpc;
import example.apitoken.v1.TokenVerificationServiceGrpc.TokenVerificationServiceBlockingStub;
import example.apitoken.v1.VerifyTokenRequest;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/** Makes the calls of the vector files named on the command line, and prints the outcome of each. */
public final class Vectors {
  private static final long TIMEOUT_SECONDS = 10;

  private final ManagedChannel channel;

  private Vectors(ManagedChannel channel) {
    this.channel = channel;
  }

  public static void main(String[] paths) throws IOException {
    ManagedChannel channel = Connection.open();
    try {
      for (String path : paths) new Vectors(channel).runFile(Path.of(path));
    } finally {
      channel.shutdownNow();
    }
  }

  /** A file has one of the four lists. */
  private void runFile(Path path) throws IOException {
    JsonObject file = JsonParser.parseString(Files.readString(path)).getAsJsonObject();
    for (JsonObject vector : listOf(file, "tokens")) {
      print("token", vector, () -> verify(vector.get("token").getAsString()));
    }
    for (JsonObject vector : listOf(file, "names")) {
      print("name", vector, () -> createNamed(vector.get("name").getAsString()));
    }
    if (file.has("page_sizes")) for (int i = 1; i <= 5; i++) createNamed("page-" + i);
    for (JsonObject vector : listOf(file, "page_sizes")) {
      print("page size", vector, () -> pages(vector.get("page_size").getAsInt()));
    }
    for (JsonObject vector : listOf(file, "calls")) {
      List<JsonObject> calls = listOf(vector, "before");
      calls.add(vector);
      print("call", vector, () -> sequence(calls));
    }
  }

  private static void print(String kind, JsonObject vector, Supplier<String> call) {
    String outcome;
    try {
      outcome = call.get();
    } catch (StatusRuntimeException error) {
      outcome = Refusal.of(error).toString();
    }
    System.out.println(kind + ", " + vector.get("id").getAsString() + ": " + outcome);
  }

  private ApiTokenServiceBlockingStub tokens() {
    return ApiTokenServiceGrpc.newBlockingStub(channel).withDeadlineAfter(TIMEOUT_SECONDS, TimeUnit.SECONDS);
  }

  private TokenVerificationServiceBlockingStub verification() {
    return TokenVerificationServiceGrpc.newBlockingStub(channel)
        .withDeadlineAfter(TIMEOUT_SECONDS, TimeUnit.SECONDS);
  }

  private String verify(String token) {
    return verification().verifyToken(VerifyTokenRequest.newBuilder().setToken(token).build()).getReason().name();
  }

  private String createNamed(String name) {
    CreateTokenResponse created = tokens().createToken(CreateTokenRequest.newBuilder().setName(name).build());
    return created.getApiToken().getName().equals(name) ? "created" : "another name";
  }

  private String pages(int size) {
    List<String> lengths = new ArrayList<>();
    ListTokensRequest.Builder request = ListTokensRequest.newBuilder().setPageSize(size);
    do {
      ListTokensResponse page = tokens().listTokens(request.build());
      lengths.add(Integer.toString(page.getApiTokensCount()));
      request.setPageToken(page.getNextPageToken());
    } while (!request.getPageToken().isEmpty());
    return String.join(" ", lengths);
  }

  /** Ends at the first refusal. */
  private String sequence(List<JsonObject> calls) {
    String token = "";
    for (JsonObject call : calls) {
      String request = call.get("request").toString().replace("$TOKEN", token);
      Message answer = call(call.get("method").getAsString(), request);
      if (answer instanceof CreateTokenResponse created) token = created.getToken();
      if (answer instanceof RenewTokenResponse renewed) token = renewed.getToken();
    }
    return "answered";
  }

  private Message call(String method, String request) {
    return switch (method) {
      case "CreateToken" -> tokens().createToken(parse(request, CreateTokenRequest.newBuilder()).build());
      case "GetToken" -> tokens().getToken(parse(request, GetTokenRequest.newBuilder()).build());
      case "ListTokens" -> tokens().listTokens(parse(request, ListTokensRequest.newBuilder()).build());
      case "RenewToken" -> tokens().renewToken(parse(request, RenewTokenRequest.newBuilder()).build());
      case "RevokeToken" -> tokens().revokeToken(parse(request, RevokeTokenRequest.newBuilder()).build());
      case "ListTokenEvents" -> tokens().listTokenEvents(parse(request, ListTokenEventsRequest.newBuilder()).build());
      case "VerifyToken" -> verification().verifyToken(parse(request, VerifyTokenRequest.newBuilder()).build());
      default -> throw new IllegalArgumentException("no method " + method);
    };
  }

  private static <B extends Message.Builder> B parse(String json, B request) {
    try {
      JsonFormat.parser().merge(json, request);
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalArgumentException(json, error);
    }
    return request;
  }

  private static List<JsonObject> listOf(JsonObject file, String key) {
    List<JsonObject> list = new ArrayList<>();
    JsonArray array = file.has(key) ? file.getAsJsonArray(key) : new JsonArray();
    for (JsonElement element : array) list.add(element.getAsJsonObject());
    return list;
  }
}
