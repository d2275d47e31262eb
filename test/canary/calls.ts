// Calls of a gRPC server that keep all that it tells its callers: status texts, details, metadata and answers.
import { once } from "node:events";
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from "node:http2";
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
        metadataOf(metadata),
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
    const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadataOf(metadata));
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

  /** Sends what no client library would. `body` undefined: the request never ends. Resolves with the reason. */
  async raw(session: ClientHttp2Session, headers: Record<string, string>, body?: Buffer): Promise<string | undefined> {
    const request = session.request({
      ":method": "POST",
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    const received: IncomingHttpHeaders[] = [];
    request.on("response", (sent) => received.push(sent)).on("trailers", (sent) => received.push(sent));
    request.on("error", () => {}).resume();
    if (body === undefined) request.write(Buffer.alloc(0));
    else request.end(body);
    await Promise.race([once(request, "end"), once(request, "close")]);
    request.close();
    const fields = Object.assign({}, ...received) as IncomingHttpHeaders;
    const { [DETAILS]: details, "grpc-message": text = "", "grpc-status": code } = fields;
    this.statuses.push(JSON.stringify(received), decodeURIComponent(String(text)), Status[Number(code)] ?? "");
    return details === undefined ? undefined : this.#recordDetails(Buffer.from(String(details), "base64"));
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

/** An HTTP/2 connection that is open. */
export async function openSession(address: string, ca: string): Promise<ClientHttp2Session> {
  const session = connect(`https://${address}`, { ca });
  session.on("error", () => {});
  await once(session, "connect");
  return session;
}

/** A gRPC message as it goes over the wire. */
export function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

class Refused extends Error {
  readonly reason: string | undefined;

  constructor(path: string, text: string, reason: string | undefined) {
    super(`${path}: ${reason} (${text})`);
    this.reason = reason;
  }
}

function metadataOf(entries: Readonly<Record<string, string>>): Metadata {
  return Object.entries(entries).reduce((metadata, [key, value]) => {
    metadata.set(key, value);
    return metadata;
  }, new Metadata());
}

function withoutToken(key: string, value: unknown): unknown {
  if (key === "token") return undefined;
  return typeof value === "bigint" ? value.toString() : value;
}
