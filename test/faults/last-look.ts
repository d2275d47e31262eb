// What the services say in the end about every name and every secret that was ever given out.
import { eventually } from "../harness.js";
import { LoadClient } from "./load.js";
import { RECOVERY_LIMIT_MS } from "./probe.js";
import type { KnownSecret, Recorder, TokenName } from "./recorder.js";
import type { Services } from "./services.js";
import type { OrganizationState } from "./store-state.js";

/** A name as its owner sees it, through one of the services. */
export interface Seen {
  readonly token: TokenName;
  readonly owned: { readonly uid: string; readonly generation: number } | "missing";
}

/**
 * Asks about each name, and verifies each secret, which goes on record; those that are current twice, so that two at once
 * show. Rejects when there is no answer for long.
 */
export async function lastLook(recorder: Recorder, services: Services, tokens: readonly TokenName[]): Promise<Seen[]> {
  const clients = Array.from(
    { length: services.count },
    (_, at) => new LoadClient(recorder, -100 - at, services.target(at)),
  );
  const seen = await Promise.all(
    tokens.map((token, at) => {
      const [client = new LoadClient(recorder, -100, services.target(0))] = clients.slice(at % clients.length);
      return lookAt(token, client, recorder.secretsOf(token));
    }),
  );
  for (const client of clients) client.close();
  return seen;
}

async function lookAt(token: TokenName, client: LoadClient, secrets: readonly KnownSecret[]): Promise<Seen> {
  const ask = (secret: KnownSecret) =>
    eventually(async () => {
      const answer = await client.verify(token, secret);
      if (answer === undefined) throw new Error("a verification has no answer after everything is well again");
      return answer;
    }, RECOVERY_LIMIT_MS);
  const current = [];
  for (const secret of secrets) if ((await ask(secret)).as === "current") current.push(secret);
  for (const secret of current) await ask(secret);
  return { token, owned: await eventually(() => client.get(token), RECOVERY_LIMIT_MS) };
}

/** Where the services say otherwise than Redis has it. */
export function differences(seen: readonly Seen[], store: readonly OrganizationState[]): string[] {
  const tokens = store.flatMap((organization) => organization.tokens);
  return seen.flatMap(({ token: { organizationId, name }, owned }) => {
    const stored = tokens.filter((token) => token.organizationId === organizationId && token.name === name);
    const told = owned === "missing" ? [] : [`${owned.uid}.${owned.generation}`];
    const kept = stored.map(({ uid, generation }) => `${uid}.${generation}`);
    return told.join() === kept.join() ? [] : [`${name} is ${told.join()} to its owner, and ${kept.join()} in Redis`];
  });
}
