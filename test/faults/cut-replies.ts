// Renewals whose reply is lost after they were carried out, between Redis and the service or between the service and its
// client. Each is asked for again with the same request_id, and must have happened exactly once, with one and the same token.
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { clients } from "../server-process.js";
import { attempt } from "./attempt.js";
import { hasHeaders } from "./http2.js";
import { USER } from "./load.js";
import { startProxy, type TcpProxy } from "./proxy.js";
import type { RunResult } from "./run.js";
import { Services } from "./services.js";
import { startStandalone } from "./standalone.js";

/** Where replies are lost. */
export const CUTS = ["between Redis and the service", "between the service and the client"] as const;
export type CutPlace = (typeof CUTS)[number];

interface Tally {
  acknowledged: number;
  unknown: number;
  readonly lost: string[];
  readonly doubled: string[];
  readonly broken: string[];
}

type Rpcs = ReturnType<typeof clients>;

const ANSWER_LIMIT_MS = 10_000;
const RETRY_MS = 20;

/** Cuts that many replies. `progress` is told how many were cut. */
export async function cutReplies(
  place: CutPlace,
  { seed, count, progress }: { seed: number; count: number; progress: (done: { acknowledged: number }) => void },
): Promise<RunResult> {
  const redis = await startStandalone({ appendFsync: "everysec", proxied: true });
  const services = await Services.start(redis.redisUrl);
  const tally: Tally = { acknowledged: 0, unknown: 0, lost: [], doubled: [], broken: [] };
  try {
    if (place === "between Redis and the service") {
      const rpcs = clients(services.target(0));
      // Only changes carry the name; what else the service sends on its connections goes through.
      const cut = (name: string) => cutOnce(redis.proxy, (request) => request.includes(name));
      for (let at = 0; at < count; at += 1) await renewWithCut(rpcs, `cut-${seed}-${at}`, cut, tally, progress);
      rpcs.close();
    } else {
      const proxy = await startProxy({ port: services.portOf(0) });
      const rpcs = clients(`127.0.0.1:${proxy.port}`);
      const cut = () => cutOnce(proxy, hasHeaders, hasHeaders);
      for (let at = 0; at < count; at += 1) await renewWithCut(rpcs, `cut-${seed}-${at}`, cut, tally, progress);
      rpcs.close();
      await proxy.stop();
    }
    tally.broken.push(...services.unexpectedEnds());
  } finally {
    await services.stop();
    await redis.stop();
  }
  return {
    ...tally,
    seed,
    fault: `replies cut ${place}`,
    refused: 0,
    resurrected: [],
    twoAlive: [],
    histories: 0,
    violations: [],
    recoverySeconds: undefined,
    complaints: [],
    mayLose: false,
    isLate: false,
    slowestMs: undefined,
  };
}

/** Arms the proxy; the function that it returns tells whether it has cut a reply since. */
function cutOnce(proxy: TcpProxy, isMeant: (bytes: Buffer) => boolean, isReply?: (bytes: Buffer) => boolean) {
  const before = proxy.cutCount;
  let isDone = false;
  proxy.cutReplies((request) => {
    if (isDone || !isMeant(request)) return false;
    isDone = true;
    return true;
  }, isReply);
  return () => proxy.cutCount > before;
}

async function renewWithCut(
  rpcs: Rpcs,
  name: string,
  arm: (name: string) => () => boolean,
  tally: Tally,
  progress: (done: { acknowledged: number }) => void,
): Promise<void> {
  const as = { organization: "cut-replies", user: USER };
  const creation = { name, requestId: randomUUID() };
  const { apiToken } = await untilAnswered(() => rpcs.tokens.createToken(creation, as));
  const request = { name, requestId: randomUUID() };
  const wasCut = arm(name);
  const first = await attempt(rpcs.tokens.renewToken(request, as));
  const answers = first.kind === "done" ? [first.response] : [];
  if (first.kind !== "done") tally.unknown += 1;
  if (!wasCut()) tally.broken.push(`${name}: no reply was cut`);
  // Two answers at least, so that they can be compared.
  for (let time = 0; time < 2; time += 1) answers.push(await untilAnswered(() => rpcs.tokens.renewToken(request, as)));
  tally.acknowledged += 1;
  const bearers = new Set(answers.map(({ token }) => token));
  if (bearers.size !== 1) tally.broken.push(`${name}: one request was answered with ${bearers.size} tokens`);
  if (first.kind !== "done" && !answers.every(({ replayed }) => replayed)) {
    tally.broken.push(`${name}: the reply was cut before the renewal was carried out`);
  }
  const { apiToken: now } = await untilAnswered(() => rpcs.tokens.getToken({ name }, as));
  const grownBy = Number(now?.generation) - Number(apiToken?.generation);
  if (grownBy < 1) tally.lost.push(`${name}: the generation grew by ${grownBy}`);
  if (grownBy > 1) tally.doubled.push(`${name}: the generation grew by ${grownBy}`);
  progress(tally);
}

/** Asks until there is an answer; throws when there is none for long, or when it is refused. */
async function untilAnswered<Response>(call: () => Promise<Response>): Promise<Response> {
  const endMs = performance.now() + ANSWER_LIMIT_MS;
  for (;;) {
    const answer = await attempt(call());
    if (answer.kind === "done") return answer.response;
    const isRetryable = answer.kind === "unapplied" || answer.kind === "unanswered";
    if (!isRetryable || performance.now() > endMs) throw new Error(`a call was answered ${JSON.stringify(answer)}`);
    await delay(RETRY_MS);
  }
}
