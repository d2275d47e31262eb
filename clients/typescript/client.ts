// Connects to apitokend the way a program should: with the published service config, and over TLS with a bearer credential
// wherever it is not a development server on this machine.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  type CallOptions,
  type ChannelCredentials,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { ApiTokenServiceClient } from "./gen/apitoken/v1/api_token_service.js";
import { TokenVerificationServiceClient } from "./gen/apitoken/v1/token_verification_service.js";
import { BadRequest, type BadRequest_FieldViolation, ErrorInfo } from "./gen/google/rpc/error_details.js";
import { Status } from "./gen/google/rpc/status.js";

const {
  APITOKEN_SERVER = "127.0.0.1:50051",
  APITOKEN_CA_FILE,
  APITOKEN_TOKEN,
  APITOKEN_SERVICE_CONFIG = fileURLToPath(new URL("../../service-config.json", import.meta.url)),
} = process.env;

/** Both services of APITOKEN_SERVER. With APITOKEN_CA_FILE over TLS, with `token` or APITOKEN_TOKEN as credential. */
export function connect(token = APITOKEN_TOKEN) {
  const options = {
    "grpc.service_config": readFileSync(APITOKEN_SERVICE_CONFIG, "utf8"),
    "grpc.service_config_disable_resolution": 1,
  };
  const channelCredentials = credentialsOf(token);
  const tokens = new ApiTokenServiceClient(APITOKEN_SERVER, channelCredentials, options);
  const verification = new TokenVerificationServiceClient(APITOKEN_SERVER, channelCredentials, options);
  const close = () => {
    tokens.close();
    verification.close();
  };
  return { tokens, verification, close };
}

function credentialsOf(token: string | undefined): ChannelCredentials {
  if (!APITOKEN_CA_FILE) return credentials.createInsecure();
  const tls = credentials.createSsl(readFileSync(APITOKEN_CA_FILE));
  if (!token) return tls;
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  return credentials.combineChannelCredentials(
    tls,
    credentials.createFromMetadataGenerator((_options, callback) => callback(null, metadata)),
  );
}

type UnaryMethod<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

/** One call as a promise, with a deadline: `call(tokens.getToken.bind(tokens), request, 5_000)`. Rejects with Refusal. */
export function call<Request, Response>(
  method: UnaryMethod<Request, Response>,
  request: Request,
  timeoutMs: number,
): Promise<Response> {
  const options = { deadline: Date.now() + timeoutMs };
  return new Promise((resolve, reject) => {
    method(request, new Metadata(), options, (error, response) => {
      if (error) reject(new Refusal(error));
      else resolve(response);
    });
  });
}

/**
 * A failed call with its details unpacked. Act on `reason`; `domain` is undefined when it was not apitokend that refused,
 * but the network or gRPC itself.
 */
export class Refusal extends Error {
  readonly code: string;
  readonly domain: string | undefined;
  readonly reason: string | undefined;
  readonly sqlState: string | undefined;
  readonly violations: readonly BadRequest_FieldViolation[];

  constructor(error: ServiceError) {
    super(error.details, { cause: error });
    const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
    const details = bytes instanceof Buffer ? Status.decode(bytes).details : [];
    const find = (name: string) => details.find(({ typeUrl }) => typeUrl.endsWith(`/google.rpc.${name}`))?.value;
    const infoBytes = find("ErrorInfo");
    const info = infoBytes && ErrorInfo.decode(infoBytes);
    const badRequest = find("BadRequest");
    this.code = status[error.code];
    this.domain = info?.domain;
    this.reason = info?.reason;
    this.sqlState = info?.metadata["sql_state"];
    this.violations = badRequest ? BadRequest.decode(badRequest).fieldViolations : [];
  }

  override toString(): string {
    const info = this.domain === undefined ? "" : ` ${this.domain}/${this.reason} ${this.sqlState}`;
    const violations = this.violations.map(({ field, description }) => ` [${field}: ${description}]`);
    return this.code + info + violations.join("");
  }
}
