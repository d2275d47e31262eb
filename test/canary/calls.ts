// Calls of a gRPC server that keep all that it tells its callers: status texts, details, metadata and answers.
import type { ClientHttp2Session } from "node:http2";
import {
  type Client,
  Metadata,
  type MethodDefinition,
  type ServiceError,
  status as Status,
  type StatusObject,
} from "@grpc/grpc-js";
import { ErrorInfo } from "../../gen/google/rpc/error_details.js";
import { Status as RpcStatus } from "../../gen/google/rpc/status.js";
import { type RawRequest, rawCall } from "../secure-service.js";

const DETAILS = "grpc-status-details-bin";

/** Who calls: a connection, and what it says of itself. */
export interface Caller {
  readonly client: Client;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A method as the generated code defines it. */
type Method<Request, Response> = Pick<
  MethodDefinition<Request, Response>,
  "path" | "requestSerialize" | "requestDeserialize" | "responseDeserialize"
>;

export class Calls {
  /** Texts, details and metadata, as Latin-1 where they are bytes. */
  readonly statuses: string[] = [];
  /** Answers as JSON, without the token string of those that give one out. */
  readonly answers: string[] = [];
  /** Of every ErrorInfo. */
  readonly reasons = new Set<string>();
  /** Paths of the methods that have answered. */
  readonly answered = new Set<string>();

  /** Calls a unary method. Resolves with its answer; rejects with the reason of a refusal. */
  unary<Request, Response>(
    { client, metadata = {} }: Caller,
    { path, requestSerialize, requestDeserialize, responseDeserialize }: Method<Request, Response>,
    fields: Partial<Request>,
  ): Promise<Response> {
    const request = { ...requestDeserialize(Buffer.alloc(0)), ...fields };
    return new Promise((resolve, reject) => {
      const answer = (error: ServiceError | null, response?: Response) => {
        if (error) reject(new Refused(path, error.details, this.#record(error)));
        else if (response !== undefined) resolve(this.#keep(path, response));
      };
      const call = client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        Metadata.fromHttp2Headers(metadata),
        { deadline: Date.now() + 10_000 },
        answer,
      );
      call.on("metadata", (initial: Metadata) => this.#recordMetadata(initial));
      call.on("status", (status: StatusObject) => this.#record(status));
    });
  }

  /** The reason why a unary method refuses; rejects when it does not. */
  async refusal<Request, Response>(
    caller: Caller,
    method: Method<Request, Response>,
    fields: Partial<Request>,
  ): Promise<string | undefined> {
    try {
      await this.unary(caller, method, fields);
    } catch (error) {
      if (error instanceof Refused) return error.reason;
      throw error;
    }
    throw new Error(`${method.path} did not refuse`);
  }

  /** Calls a streaming method with these requests until as many answers have come. */
  async stream<Request, Response>(
    { client, metadata = {} }: Caller,
    { path, requestSerialize, requestDeserialize, responseDeserialize }: Method<Request, Response>,
    requests: readonly Partial<Request>[],
  ): Promise<void> {
    const call = client.makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      Metadata.fromHttp2Headers(metadata),
    );
    call.on("status", (status: StatusObject) => this.#record(status));
    let answers = 0;
    const done = new Promise<void>((resolve, reject) => {
      call.on("error", reject);
      call.on("data", (response: Response) => {
        this.#keep(path, response);
        answers += 1;
        if (answers === requests.length) resolve();
      });
    });
    for (const fields of requests) call.write({ ...requestDeserialize(Buffer.alloc(0)), ...fields });
    call.end();
    await done;
    call.cancel();
  }

  /** Sends what no client library would. */
  async raw(
    session: ClientHttp2Session,
    path: string,
    headers: Record<string, string>,
    request?: RawRequest,
  ): Promise<void> {
    const answer = await rawCall(session, path, headers, request);
    const { [DETAILS]: details, "grpc-message": text = "", "grpc-status": code } = answer;
    this.statuses.push(JSON.stringify(answer), decodeURIComponent(String(text)), Status[Number(code)] ?? "");
    if (details !== undefined) this.#recordDetails(Buffer.from(String(details), "base64"));
  }

  #keep<Response>(path: string, response: Response): Response {
    this.answered.add(path);
    this.answers.push(JSON.stringify(response, withoutToken));
    return response;
  }

  /** The reason of a status, all of which is kept. */
  #record({ code, details, metadata }: Pick<StatusObject, "code" | "details" | "metadata">): string | undefined {
    this.statuses.push(`${Status[code]} ${details}`);
    this.#recordMetadata(metadata);
    const [bytes] = metadata.get(DETAILS);
    return bytes === undefined ? undefined : this.#recordDetails(bytes as Buffer);
  }

  #recordMetadata(metadata: Metadata): void {
    for (const [key, values] of Object.entries(metadata.toJSON())) {
      for (const value of values)
        this.statuses.push(`${key}: ${typeof value === "string" ? value : value.toString("latin1")}`);
    }
  }

  #recordDetails(bytes: Buffer): string | undefined {
    const { message, details } = RpcStatus.decode(bytes);
    this.statuses.push(message, ...details.map(({ typeUrl, value }) => `${typeUrl} ${value.toString("latin1")}`));
    const info = details.find(({ typeUrl }) => typeUrl.endsWith("google.rpc.ErrorInfo"));
    if (info === undefined) return undefined;
    const { reason, domain, metadata } = ErrorInfo.decode(info.value);
    this.statuses.push(JSON.stringify({ reason, domain, metadata }));
    this.reasons.add(reason);
    return reason;
  }
}

class Refused extends Error {
  readonly reason: string | undefined;

  constructor(path: string, text: string, reason: string | undefined) {
    super(`${path}: ${reason} (${text})`);
    this.reason = reason;
  }
}

function withoutToken(key: string, value: unknown): unknown {
  if (key === "token") return undefined;
  return typeof value === "bigint" ? value.toString() : value;
}
