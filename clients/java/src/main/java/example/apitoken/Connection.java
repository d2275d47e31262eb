package example.apitoken;

import com.google.gson.Gson;
import io.grpc.CallCredentials;
import io.grpc.ChannelCredentials;
import io.grpc.CompositeChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.Executor;

/**
 * Connects to apitokend the way a program should: with the published service config, and over TLS with a bearer
 * credential wherever it is not a development server on this machine.
 */
final class Connection {
  private Connection() {}

  static final String CA_FILE = env("APITOKEN_CA_FILE", "");

  /** A channel to APITOKEN_SERVER. With APITOKEN_CA_FILE over TLS, with APITOKEN_TOKEN as credential. */
  static ManagedChannel open() throws IOException {
    return open(env("APITOKEN_TOKEN", ""));
  }

  static ManagedChannel open(String token) throws IOException {
    Path config = Path.of(env("APITOKEN_SERVICE_CONFIG", "../service-config.json"));
    @SuppressWarnings("unchecked")
    Map<String, ?> serviceConfig = new Gson().fromJson(Files.readString(config), Map.class);
    return Grpc.newChannelBuilder(env("APITOKEN_SERVER", "127.0.0.1:50051"), credentials(token))
        .defaultServiceConfig(serviceConfig)
        .disableServiceConfigLookUp()
        .build();
  }

  private static ChannelCredentials credentials(String token) throws IOException {
    if (CA_FILE.isEmpty()) return InsecureChannelCredentials.create();
    ChannelCredentials tls = TlsChannelCredentials.newBuilder().trustManager(new File(CA_FILE)).build();
    return token.isEmpty() ? tls : CompositeChannelCredentials.create(tls, new Bearer(token));
  }

  private static String env(String name, String otherwise) {
    String value = System.getenv(name);
    return value == null || value.isEmpty() ? otherwise : value;
  }

  /** A JWT or an API token as the credential of every call. */
  private static final class Bearer extends CallCredentials {
    private static final Metadata.Key<String> AUTHORIZATION =
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private final String token;

    Bearer(String token) {
      this.token = token;
    }

    @Override
    public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
      Metadata headers = new Metadata();
      headers.put(AUTHORIZATION, "Bearer " + token);
      applier.apply(headers);
    }
  }
}
