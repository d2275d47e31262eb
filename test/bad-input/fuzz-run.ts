// Sends random cases to a server process and judges what comes of them: the process lives, each call is answered or its
// connection ended, no answer is a fault of the server's, and no input comes back or is printed.
import { readFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { startRedis } from "../harness.js";
import { rawCall } from "../secure-service.js";
import { clients, type ServerProcess, startServerProcess } from "../server-process.js";
import { caseText, type FuzzCase, fuzzCase, hasGoaway } from "./fuzz-cases.js";
import { METHODS, message, type Outcome, outcomeOf } from "./grpc.js";
import { pingFrame, RawHttp2, TYPE } from "./raw-http2.js";
import { CANARY } from "./row.js";

const BATCH = 500;
const IN_FLIGHT = 64;
const ANSWER_LIMIT_MS = 12_000;
/** What a connection gets to show an answer before the client ends it: damaged frames can leave nothing to wait for. */
const LISTEN_MS = 40;
/** About 5,000 damaged connections linger at a time, for 25 s and with 50 kB each, and it stays there. */
const MAX_RSS_KB = 700_000;
export const IS_NODE_20 = process.versions.node.startsWith("20.");
const MAX_FAILURES = 5;
/** The share of damaged connections on which a call is still answered is 15 to 25 %. */
const MIN_ANSWERED = 0.05;

export interface Fuzzer {
  /** Runs cases of this seed; resolves with what went wrong, a paragraph each. */
  run(seed: number, indexes: readonly number[]): Promise<readonly string[]>;
  runCase(fuzzCase: FuzzCase): Promise<string | undefined>;
  stop(): Promise<void>;
}

/** A server of its own over an empty Redis. */
export async function startFuzzer(): Promise<Fuzzer> {
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
  const port = Number(address.split(":").at(-1));
  // Well-framed calls go over one connection of node:http2, which is faster than ours. Its error is also that of each call.
  const openSession = () => connectHttp2(`http://${address}`).on("error", () => {});
  let session = openSession();

  async function outcomesOf([to, bytes]: FuzzCase): Promise<readonly Outcome[]> {
    if (to === "connection") return converse(port, bytes);
    const answer = await rawCall(session, METHODS[to].path, { "x-canary": CANARY }, { body: message(bytes) });
    const headers = Object.entries(answer).map(([name, value]) => [name, String(value)] as const);
    return [outcomeOf({ headers, data: Buffer.alloc(0) })];
  }

  /** Whether a call was answered with a gRPC status, and what is wrong with it. */
  async function examine(next: FuzzCase): Promise<{ isAnswered: boolean; fault?: string | undefined }> {
    try {
      const outcomes = await outcomesOf(next);
      const isAnswered = outcomes.some((outcome) => "code" in outcome);
      const fault = outcomes.map(judge).find((found) => found !== undefined);
      return { isAnswered, fault: fault ?? (isAnswered || next[0] === "connection" ? undefined : "no gRPC status") };
    } catch (error) {
      return { isAnswered: false, fault: error instanceof Error ? error.message : String(error) };
    }
  }

  async function run(seed: number, indexes: readonly number[]): Promise<string[]> {
    const failures: string[] = [];
    /** Of each damaged connection, whether any of its calls was answered. */
    const connections: boolean[] = [];
    for (let at = 0; at < indexes.length && failures.length < MAX_FAILURES; at += BATCH) {
      const batch = indexes.slice(at, at + BATCH);
      await inParallel(batch, async (index) => {
        if (failures.length >= MAX_FAILURES) return;
        const next = fuzzCase(seed, index);
        if (IS_NODE_20 && hasGoaway(next)) return;
        const { isAnswered, fault } = await examine(next);
        if (next[0] === "connection") connections.push(isAnswered);
        if (fault === undefined) return;
        failures.push(`case ${index}: ${fault}\n  npm run fuzz -- --seed ${seed} --only ${index}\n  ${caseText(next)}`);
      });
      session.close();
      session = openSession();
      const fault = await checkServer(server, address);
      if (fault !== undefined) {
        failures.push(
          `after cases ${batch[0]} to ${batch.at(-1)}: ${fault}\n  npm run fuzz -- --seed ${seed} --from ${batch[0]} --cases ${batch.length}`,
        );
      }
    }
    const answered = connections.filter(Boolean).length;
    if (connections.length >= 100 && answered < connections.length * MIN_ANSWERED) {
      failures.push(`of ${connections.length} damaged connections only ${answered} got an answer to a call`);
    }
    return failures.slice(0, MAX_FAILURES);
  }

  const stop = async () => {
    session.destroy();
    await server.stop();
    await redis.stop();
  };
  return { run, runCase: async (next) => (await examine(next)).fault, stop };
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      for (const item of queue) await work(item);
    }),
  );
}

const FAULTS: ReadonlySet<string> = new Set(["INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS"]);

/** What is wrong with an outcome. */
function judge(outcome: Outcome): string | undefined {
  if (!("code" in outcome)) return undefined;
  const { code, reason, message: text, details } = outcome;
  if (FAULTS.has(code)) return `the status is ${code}: ${text}`;
  if (text.includes(CANARY) || details.includes(CANARY)) return `the input comes back: ${text}`;
  return code !== "OK" && reason === undefined ? `${code} without ErrorInfo: ${text}` : undefined;
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
