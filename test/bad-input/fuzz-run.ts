// Sends random cases to a server process and judges what comes of them: the process lives, each call is answered or its
// connection ended, no answer is a fault of the server's, and no input comes back or is printed.
import { readFileSync } from "node:fs";
import { type ClientHttp2Session, connect as connectHttp2, constants, type IncomingHttpHeaders } from "node:http2";
import { connect } from "node:net";
import { startRedis } from "../harness.js";
import { clients, type ServerProcess, startServerProcess } from "../server-process.js";
import { caseText, type FuzzCase, fuzzCase } from "./fuzz-cases.js";
import { METHODS, type Method, message, type Outcome, outcomeOf } from "./grpc.js";
import type { Header } from "./hpack.js";
import { pingFrame, RawHttp2, TYPE } from "./raw-http2.js";
import { CANARY } from "./row.js";

const BATCH = 500;
const IN_FLIGHT = 64;
const ANSWER_LIMIT_MS = 12_000;
/** What a connection gets to show an answer before the client ends it: damaged frames can leave nothing to wait for. */
const LISTEN_MS = 40;
const MAX_RSS_KB = 500_000;
const MAX_FAILURES = 5;

export interface Fuzzer {
  /** Runs cases of this seed; resolves with what went wrong, a paragraph each. */
  run(seed: number, indexes: readonly number[]): Promise<readonly string[]>;
  runCase(fuzzCase: FuzzCase): Promise<string | undefined>;
  stop(): Promise<void>;
}

/** A server of its own over an empty Redis. `tolerated`: statuses that are known faults, to look for others behind them. */
export async function startFuzzer(tolerated: readonly string[] = []): Promise<Fuzzer> {
  const redis = await startRedis();
  const server = startServerProcess({
    REDIS_URL: `unix://${redis.socketPath}`,
    LOG_LEVEL: "trace",
    MAX_TOKENS_PER_USER: "50",
    CALL_TIMEOUT: "2s",
    // Node keeps what broke the rules of HTTP/2 until a PING stays without answer.
    MAX_CONNECTIONS_PER_PEER: "10000",
  });
  const address = await server.listening();
  const session = new SharedSession(`http://${address}`);
  const faults = new Set(
    ["INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS"].filter((code) => !tolerated.includes(code)),
  );
  const port = Number(address.split(":").at(-1));

  async function runCase([to, bytes]: FuzzCase): Promise<string | undefined> {
    try {
      const outcomes = to === "connection" ? await converse(port, bytes) : [await session.call(to, bytes)];
      return outcomes.map((outcome) => judge(outcome, faults)).find((fault) => fault !== undefined);
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  async function run(seed: number, indexes: readonly number[]): Promise<string[]> {
    const failures: string[] = [];
    for (let at = 0; at < indexes.length && failures.length < MAX_FAILURES; at += BATCH) {
      const batch = indexes.slice(at, at + BATCH);
      await inParallel(batch, async (index) => {
        if (failures.length >= MAX_FAILURES) return;
        const next = fuzzCase(seed, index);
        const fault = await runCase(next);
        if (fault === undefined) return;
        failures.push(`case ${index}: ${fault}\n  npm run fuzz -- --seed ${seed} --only ${index}\n  ${caseText(next)}`);
      });
      session.renew();
      const fault = await checkServer(server, address);
      if (fault !== undefined) {
        failures.push(
          `after cases ${batch[0]} to ${batch.at(-1)}: ${fault}\n  npm run fuzz -- --seed ${seed} --from ${batch[0]} --cases ${batch.length}`,
        );
      }
    }
    return failures.slice(0, MAX_FAILURES);
  }

  const stop = async () => {
    session.close();
    server.child.kill("SIGKILL");
    await server.exited;
    await redis.stop();
  };
  return { run, runCase, stop };
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      for (const item of queue) await work(item);
    }),
  );
}

/** What is wrong with an outcome. */
function judge(outcome: Outcome, faults: ReadonlySet<string>): string | undefined {
  if (!("code" in outcome)) return undefined;
  const { code, reason, message: text, details } = outcome;
  if (faults.has(code)) return `the status is ${code}: ${text}`;
  if (text.includes(CANARY) || details.includes(CANARY)) return `the input comes back: ${text}`;
  if (code !== "OK" && reason === undefined && !tolerates(faults)) return `${code} without ErrorInfo: ${text}`;
  return undefined;
}

/** Where faults are tolerated, so is that they come without details. */
function tolerates(faults: ReadonlySet<string>): boolean {
  return !faults.has("INTERNAL");
}

/** What is wrong with the server; undefined when it serves. Forgets what it has printed, for a run can be long. */
async function checkServer(server: ServerProcess, address: string): Promise<string | undefined> {
  const { child, printed } = server;
  if (child.exitCode !== null || child.signalCode !== null)
    return `the server has ended: ${printed.stderr.slice(-2000)}`;
  const { tokens, verification, close } = clients(address);
  try {
    const as = { organization: "fuzz", user: "good" };
    const { token } = await tokens.createToken({ name: "good" }, as);
    if (!(await verification.verifyToken({ token }, as)).active) return "a good token is not active";
    await tokens.revokeToken({ name: "good" }, as);
  } catch (error) {
    return `a good call fails: ${String(error)}`;
  } finally {
    close();
  }
  const leak = `${printed.stdout}\n${printed.stderr}`.split("\n").find((line) => line.includes(CANARY));
  if (leak !== undefined) return `the server printed the input: ${leak.slice(0, 500)}`;
  printed.stderr = printed.stderr.slice(-CANARY.length);
  const rssKb = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1]);
  return rssKb > MAX_RSS_KB ? `the server has grown to ${rssKb} kB` : undefined;
}

/** All that a connection got: an outcome of each stream that was answered. It ends with the connection, at our hand at last. */
async function converse(port: number, bytes: Buffer): Promise<Outcome[]> {
  const socket = connect(port, "127.0.0.1");
  const connection = new RawHttp2(socket);
  try {
    await connection.send(bytes, pingFrame(Buffer.from("finished")));
    const heard = connection.until(() => (isFinished(connection) ? true : undefined), LISTEN_MS);
    await heard.catch(() => {});
    socket.end();
    await connection.until(() => connection.connectionEnd(), ANSWER_LIMIT_MS);
  } finally {
    socket.destroy();
  }
  const streamIds = new Set(
    connection.frames.filter(({ type }) => type === TYPE.HEADERS).map(({ streamId }) => streamId),
  );
  return [...streamIds].map((streamId) =>
    outcomeOf(connection.endSoFar(streamId) ?? { closed: "connection", error: "" }),
  );
}

/** Everything sent was read, and what was answered was answered to its end. */
function isFinished(connection: RawHttp2): boolean {
  if (connection.connectionEnd() !== undefined) return true;
  const isRead = connection.frames.some(
    ({ type, payload }) => type === TYPE.PING && payload.equals(Buffer.from("finished")),
  );
  const streamIds = connection.frames.filter(({ type }) => type === TYPE.HEADERS).map(({ streamId }) => streamId);
  return isRead && streamIds.length > 0 && streamIds.every((streamId) => connection.endSoFar(streamId) !== undefined);
}

/** Well-framed calls over one connection of node:http2, which is faster than ours. */
class SharedSession {
  readonly #url: string;
  #session: ClientHttp2Session;

  constructor(url: string) {
    this.#url = url;
    this.#session = this.#open();
  }

  /** Rejects when there is no answer. */
  call(method: Method, request: Buffer): Promise<Outcome> {
    const path = METHODS[method].path;
    const stream = this.#session.request({
      [constants.HTTP2_HEADER_METHOD]: "POST",
      [constants.HTTP2_HEADER_PATH]: path,
      te: "trailers",
      "content-type": "application/grpc",
      "x-canary": CANARY,
    });
    return new Promise((resolve, reject) => {
      const headers: Header[] = [];
      const data: Buffer[] = [];
      const keep = (received: IncomingHttpHeaders) => {
        for (const [name, value] of Object.entries(received)) headers.push([name, String(value)]);
      };
      const timer = setTimeout(() => reject(new Error("no answer in time")), ANSWER_LIMIT_MS);
      stream
        .on("response", keep)
        .on("trailers", keep)
        .on("data", (bytes: Buffer) => data.push(bytes));
      stream.on("error", reject).on("close", () => {
        clearTimeout(timer);
        if (headers.length === 0) reject(new Error(`the stream was reset with ${stream.rstCode}`));
        else resolve(outcomeOf({ headers, data: Buffer.concat(data) }, path));
      });
      stream.end(message(request));
    });
  }

  /** A new connection for the calls to come. */
  renew(): void {
    this.#session.close();
    this.#session = this.#open();
  }

  close(): void {
    this.#session.destroy();
  }

  #open(): ClientHttp2Session {
    // The error is also that of each call.
    return connectHttp2(this.#url).on("error", () => {});
  }
}
