// The clients of a run: some dozen that share a few token names, and create, renew, verify and revoke as good clients do.
// A change is tried again with the same request_id until its outcome is known or patience ends; a revocation, which has no
// request_id, is tried again only while it certainly did not happen.
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { credentials } from "@grpc/grpc-js";
import type { ApiToken } from "../../gen/apitoken/v1/api_token.js";
import { ApiTokenServiceClient } from "../../gen/apitoken/v1/api_token_service.js";
import {
  InactiveReason,
  Secret,
  TokenVerificationServiceClient,
  type VerifyTokenResponse,
} from "../../gen/apitoken/v1/token_verification_service.js";
import { rpcs } from "../harness.js";
import { attempt } from "./attempt.js";
import { Random } from "./random.js";
import {
  type KnownSecret,
  type MutationKind,
  type MutationOutcome,
  type Recorder,
  storedHashOf,
  type TokenName,
  type Verification,
} from "./recorder.js";

/** Whose all tokens are. */
export const USER = "faults";

const RETRY_BUDGET_MS = 4000;
const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 400;

const WHILE_PRESENT = { verify: 45, renew: 40, create: 8, revoke: 7 } as const;
const WHILE_ABSENT = { verify: 25, renew: 8, create: 62, revoke: 5 } as const;
/** Which of a name's secrets is presented: the latest, the one before, or any. */
const SECRET_CHOICE = { latest: 55, previous: 30, any: 15 } as const;

type Rpcs = ReturnType<typeof connect>;

/** A token with its new bearer string, which is empty where none was made. */
interface Issued {
  readonly apiToken?: ApiToken | undefined;
  readonly token: string;
}

/** One client with a connection of its own. */
export class LoadClient {
  readonly #recorder: Recorder;
  readonly #number: number;
  readonly #rpcs: Rpcs;
  readonly #retryBudgetMs: number;

  /** `target`: where the services are, as grpc-js resolves it. */
  constructor(recorder: Recorder, number: number, target: string, retryBudgetMs = RETRY_BUDGET_MS) {
    this.#recorder = recorder;
    this.#number = number;
    this.#rpcs = connect(target);
    this.#retryBudgetMs = retryBudgetMs;
  }

  close(): void {
    this.#rpcs.close();
  }

  /** Resolves with what became of the change, which is then on record. */
  async mutate(kind: MutationKind, token: TokenName): Promise<MutationOutcome> {
    const request = { name: token.name, requestId: kind === "revoke" ? "" : randomUUID() };
    const secret = kind === "revoke" ? "" : this.#recorder.nextLabel();
    const firstMs = performance.now();
    let callMs: number | undefined;
    let outcome: MutationOutcome | undefined;
    for (let backoffMs = FIRST_BACKOFF_MS; outcome === undefined; backoffMs *= 2) {
      const attemptMs = performance.now();
      const answer = await attempt(this.#call(kind, token, request));
      this.#note(answer, attemptMs);
      // Attempts that were certainly not applied are no part of the operation.
      const mayHaveHappened = callMs !== undefined;
      if (answer.kind !== "unapplied") callMs ??= attemptMs;
      if (answer.kind === "done") outcome = this.#acknowledged(token, secret, answer.response);
      else if (answer.kind === "happened") outcome = { kind: "open", hasHappened: true };
      // An earlier attempt may have happened, and later changes may have brought the state that this one met.
      else if (answer.kind === "refused" && !mayHaveHappened) outcome = answer;
      else if (answer.kind === "refused") outcome = { kind: "open", hasHappened: false };
      else if (answer.kind !== "unapplied" && kind === "revoke") outcome = { kind: "open", hasHappened: false };
      else if (performance.now() - firstMs > this.#retryBudgetMs) {
        outcome = callMs === undefined ? { kind: "unapplied" } : { kind: "open", hasHappened: false };
      } else await delay(Math.min(backoffMs, LONGEST_BACKOFF_MS));
    }
    const returnMs = performance.now();
    this.#recorder.addMutation({
      client: this.#number,
      token,
      kind,
      secret,
      callMs: callMs ?? firstMs,
      returnMs,
      outcome,
    });
    return outcome;
  }

  /** Asks about a secret once. Resolves with the answer, which is then on record; undefined when there is none. */
  async verify(token: TokenName, secret: KnownSecret): Promise<Verification["answer"] | undefined> {
    const callMs = performance.now();
    const told = await attempt(this.#rpcs.verification.verifyToken({ token: secret.bearer }, as(token)));
    this.#note(told, callMs);
    if (told.kind !== "done") return undefined;
    const answer = verificationAnswer(told.response);
    const returnMs = performance.now();
    if (answer === undefined)
      this.#recorder.unexpected.push(`a verification of ${secret.label} answered what none can`);
    else {
      const call = { client: this.#number, token, secret: secret.label, callMs, returnMs };
      this.#recorder.addVerification({ ...call, answer });
    }
    return answer;
  }

  /** The token as its owner sees it; "missing" when there is none. Rejects when there is no answer. */
  async get(token: TokenName): Promise<{ uid: string; generation: number } | "missing"> {
    const answer = await attempt(this.#rpcs.tokens.getToken({ name: token.name }, as(token)));
    if (answer.kind === "refused") return "missing";
    if (answer.kind !== "done" || answer.response.apiToken === undefined) throw new Error(`no answer: ${answer.kind}`);
    const { uid, generation } = answer.response.apiToken;
    return { uid, generation: Number(generation) };
  }

  async #call(kind: MutationKind, token: TokenName, request: { name: string; requestId: string }): Promise<Issued> {
    const { tokens } = this.#rpcs;
    if (kind === "create") return tokens.createToken(request, as(token));
    if (kind === "renew") return tokens.renewToken(request, as(token));
    return { ...(await tokens.revokeToken({ name: token.name }, as(token))), token: "" };
  }

  #acknowledged(token: TokenName, label: string, { apiToken, token: bearer }: Issued): MutationOutcome {
    if (apiToken === undefined) throw new Error("an answer has no token");
    const { uid } = apiToken;
    const made = { kind: "acknowledged", uid, generation: Number(apiToken.generation) } as const;
    if (bearer === "") return made;
    this.#recorder.addSecret(token, { label, bearer, uid });
    return { ...made, secretHash: storedHashOf(bearer) };
  }

  #note(answer: Awaited<ReturnType<typeof attempt>>, startMs: number): void {
    this.#recorder.slowestMs = Math.max(this.#recorder.slowestMs, performance.now() - startMs);
    if (answer.kind === "unexpected") this.#recorder.unexpected.push(answer.text);
    if (answer.kind === "unanswered" || answer.kind === "unapplied") this.#recorder.failedCalls += 1;
  }
}

export interface LoadOptions {
  readonly recorder: Recorder;
  readonly seed: number;
  readonly tokens: readonly TokenName[];
  /** Where each client finds the services; there are as many clients. */
  readonly targets: readonly string[];
  /** How long a client rests between two calls, on average. */
  readonly restMs: number;
}

/** Clients at work until they are stopped. */
export class Load {
  readonly #options: LoadOptions;
  readonly #clients: readonly LoadClient[];
  readonly #working: Promise<unknown>;
  /** What was heard of each name last; only a guess, by which the clients choose what to do. */
  readonly #present = new Map<TokenName, boolean>();
  /** Whether the clients do not rest, so that as much as possible is under way. */
  isRushing = false;
  #isStopping = false;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#clients = options.targets.map((target, at) => new LoadClient(options.recorder, at, target));
    this.#working = Promise.all(this.#clients.map((client, at) => this.#work(client, new Random(options.seed, at))));
    // It is awaited in the end; until then a fault of ours must not end the process with servers still running.
    this.#working.catch(() => {});
  }

  /** Lets every client end what it is at, and resolves when all have. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#working;
    for (const client of this.#clients) client.close();
  }

  async #work(client: LoadClient, random: Random): Promise<void> {
    const { recorder, tokens, restMs } = this.#options;
    while (!this.#isStopping) {
      const token = random.pick(tokens);
      const secrets = recorder.secretsOf(token);
      const action = random.weighted(this.#isPresent(token) ? WHILE_PRESENT : WHILE_ABSENT);
      if (action === "verify") {
        if (secrets.length > 0) await client.verify(token, choose(secrets, random));
      } else {
        const outcome = await client.mutate(action, token);
        if (outcome.kind === "acknowledged") this.#present.set(token, action !== "revoke");
        if (outcome.kind === "refused") this.#present.set(token, outcome.as === "exists");
      }
      await delay(this.isRushing ? 0 : random.between(0, 2 * restMs));
    }
  }

  #isPresent(token: TokenName): boolean {
    return this.#present.get(token) ?? false;
  }
}

/** Both services over one connection, which is not shared with anybody. */
function connect(target: string) {
  const options = { "grpc.use_local_subchannel_pool": 1 };
  const tokens = new ApiTokenServiceClient(target, credentials.createInsecure(), options);
  const channelOverride = tokens.getChannel();
  const verification = new TokenVerificationServiceClient(target, credentials.createInsecure(), { channelOverride });
  return { tokens: rpcs(tokens), verification: rpcs(verification), close: () => tokens.close() };
}

/** Undefined for what no verification of ours can give: all are of well-formed secrets, without a grace period. */
function verificationAnswer({ active, apiToken, secret, reason }: VerifyTokenResponse) {
  if (active && secret === Secret.SECRET_CURRENT && apiToken !== undefined)
    return { as: "current", uid: apiToken.uid, generation: Number(apiToken.generation) } as const;
  if (!active && reason === InactiveReason.INACTIVE_REASON_SUPERSEDED) return { as: "superseded" } as const;
  if (!active && reason === InactiveReason.INACTIVE_REASON_UNKNOWN) return { as: "unknown" } as const;
  return undefined;
}

function choose(secrets: readonly KnownSecret[], random: Random): KnownSecret {
  const choice = random.weighted(SECRET_CHOICE);
  const at = { latest: secrets.length - 1, previous: secrets.length - 2, any: random.between(0, secrets.length - 1) };
  return secrets[Math.max(0, at[choice])] ?? random.pick(secrets);
}

function as({ organizationId }: TokenName) {
  return { organization: organizationId, user: USER };
}
