// A client that tells when a service works again: it makes changes and verifications, one after the other and each once.
import { setTimeout as delay } from "node:timers/promises";
import { LoadClient } from "./load.js";
import type { Recorder, TokenName } from "./recorder.js";

export const RECOVERY_LIMIT_MS = 60_000;
const PROBE_INTERVAL_MS = 30;

/** It has a token of its own, and what it does is on record like everything else. */
export class Probe {
  readonly token: TokenName;
  readonly #client: LoadClient;
  readonly #recorder: Recorder;

  private constructor(recorder: Recorder, client: LoadClient, token: TokenName) {
    this.#recorder = recorder;
    this.#client = client;
    this.token = token;
  }

  static async open(recorder: Recorder, at: number, target: string, organizationId: string): Promise<Probe> {
    const client = new LoadClient(recorder, -1 - at, target, 0);
    const probe = new Probe(recorder, client, { organizationId, name: `probe-${at + 1}` });
    const succeededMs = await probe.firstSuccessMs(performance.now() + RECOVERY_LIMIT_MS);
    if (succeededMs === Number.POSITIVE_INFINITY) throw new Error("the service does not work");
    return probe;
  }

  /** When a change and a verification had succeeded; Infinity when they have not until the limit. */
  async firstSuccessMs(limitMs: number): Promise<number> {
    while (performance.now() < limitMs) {
      const succeededMs = await this.#try();
      if (succeededMs !== undefined) return succeededMs;
      await delay(PROBE_INTERVAL_MS);
    }
    return Number.POSITIVE_INFINITY;
  }

  close(): void {
    this.#client.close();
  }

  async #try(): Promise<number | undefined> {
    let outcome = await this.#client.mutate("renew", this.token);
    // Not made yet; or lost, which is for the ledger to find.
    if (outcome.kind === "refused") outcome = await this.#client.mutate("create", this.token);
    if (outcome.kind !== "acknowledged") return undefined;
    const secret = this.#recorder.secretsOf(this.token).at(-1);
    if (secret === undefined || (await this.#client.verify(this.token, secret)) === undefined) return undefined;
    return performance.now();
  }
}
