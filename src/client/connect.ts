// The client of the npm package: both services as promises, with the deadlines and retries that are safe. It must not know
// the server's code, nor read files or the environment: a bundler may take it anywhere.
import {
  type CallOptions,
  type ChannelCredentials,
  Client,
  credentials,
  Metadata,
  type MethodDefinition,
  type ServiceError,
} from "@grpc/grpc-js";
import { ApiTokenServiceService } from "../../gen/apitoken/v1/api_token_service.js";
import { TokenVerificationServiceService } from "../../gen/apitoken/v1/token_verification_service.js";
import { Refusal } from "./refusal.js";
import { SERVICE_CONFIG } from "./service-config.js";

export interface ConnectOptions {
  /** host:port; with dns:/// in front calls go to all addresses of the host in turn. */
  readonly server: string;
  /** PEM texts: whom to trust (Node's authorities without `ca`), and who we are where the server asks for it. */
  readonly tls?: {
    readonly ca?: string | undefined;
    readonly cert?: string | undefined;
    readonly key?: string | undefined;
  };
  /** For a development server on this machine: without TLS, and without a credential. */
  readonly insecure?: boolean | undefined;
  /** A JWT or an API token, or what gives the current one for each call. */
  readonly token?: string | (() => string | Promise<string>) | undefined;
}

export interface CallSettings {
  /** 10 seconds unless told otherwise, retries and all. */
  readonly timeoutMs?: number | undefined;
  readonly metadata?: Metadata | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Fields that are left out have their defaults. */
type Fields<Request> = { readonly [Name in keyof Request]?: Request[Name] | undefined };

/** The unary methods of a service as functions. They reject with {@link Refusal}. */
export type Methods<Service> = {
  readonly [Name in keyof Service as Service[Name] extends { responseStream: false }
    ? Name
    : never]: Service[Name] extends {
    requestDeserialize: (bytes: Buffer) => infer Request;
    responseDeserialize: (bytes: Buffer) => infer Response;
  }
    ? (request: Fields<Request>, settings?: CallSettings) => Promise<Response>
    : never;
};

export interface Connection {
  readonly tokens: Methods<typeof ApiTokenServiceService>;
  readonly verification: Methods<typeof TokenVerificationServiceService>;
  readonly close: () => void;
}

/** Both services of a server. It connects at the first call. */
export function connect(options: ConnectOptions): Connection {
  const client = new Client(options.server, credentialsOf(options), {
    "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
    "grpc.service_config_disable_resolution": 1,
  });
  return {
    tokens: methodsOf(client, ApiTokenServiceService),
    verification: methodsOf(client, TokenVerificationServiceService),
    close: () => client.close(),
  };
}

const TIMEOUT_MS = 10_000;

function methodsOf<Service extends object>(client: Client, service: Service): Methods<Service> {
  const methods = Object.entries(service as Readonly<Record<string, MethodDefinition<object, unknown>>>)
    .filter(([, { requestStream, responseStream }]) => !requestStream && !responseStream)
    .map(([name, method]) => [name, unary(client, method)]);
  return Object.fromEntries(methods) as Methods<Service>;
}

function unary<Request extends object, Response>(client: Client, method: MethodDefinition<Request, Response>) {
  const defaults = method.requestDeserialize(Buffer.alloc(0));
  return (fields: Fields<Request>, { timeoutMs = TIMEOUT_MS, metadata, signal }: CallSettings = {}) =>
    new Promise<Response>((resolve, reject) => {
      const options: CallOptions = { deadline: Date.now() + timeoutMs };
      const request = { ...defaults, ...withoutUndefined(fields) };
      const answer = (error: ServiceError | null, response?: Response) => {
        signal?.removeEventListener("abort", cancel);
        if (error || response === undefined) reject(error ? new Refusal(error) : new Error("no answer"));
        else resolve(response);
      };
      const { path, requestSerialize, responseDeserialize } = method;
      const call = client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata ?? new Metadata(),
        options,
        answer,
      );
      const cancel = () => call.cancel();
      if (signal?.aborted) cancel();
      signal?.addEventListener("abort", cancel);
    });
}

function withoutUndefined<Request>(fields: Fields<Request>): Partial<Request> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<Request>;
}

function credentialsOf({ insecure = false, tls = {}, token }: ConnectOptions): ChannelCredentials {
  if (insecure) {
    if (token !== undefined) throw new TypeError("a token must not travel without TLS");
    return credentials.createInsecure();
  }
  const bytes = (pem: string | undefined) => (pem === undefined ? null : Buffer.from(pem));
  const channel = credentials.createSsl(bytes(tls.ca), bytes(tls.key), bytes(tls.cert));
  if (token === undefined) return channel;
  const currentToken = typeof token === "string" ? () => token : token;
  return credentials.combineChannelCredentials(
    channel,
    credentials.createFromMetadataGenerator((_options, callback) => {
      const metadataOf = async () => {
        const metadata = new Metadata();
        metadata.set("authorization", `Bearer ${await currentToken()}`);
        return metadata;
      };
      metadataOf().then(
        (metadata) => callback(null, metadata),
        (error: unknown) => callback(error instanceof Error ? error : new Error(String(error))),
      );
    }),
  );
}
