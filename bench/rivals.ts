// Other people's services that answer the same question, each as one process on the same Redis: installed by the bench, of
// these versions, into a folder of the user's cache, and never a dependency of this project.
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Contender } from "./contender.js";
import { CACHE } from "./h2load.js";
import type { Http1Call } from "./load.js";
import { run, startListening } from "./processes.js";
import type { BenchRedis } from "./servers.js";

/** The newest that fit together. */
const PACKAGES = {
  "@better-auth/api-key": "1.7.5",
  "@better-auth/core": "1.7.5",
  "@better-auth/utils": "0.4.2",
  "better-auth": "1.7.5",
  "better-call": "1.4.0",
  ioredis: "5.11.1",
  "oidc-provider": "9.13.3",
};
const PROGRAMS = join(import.meta.dirname, "rivals");

/** Fewer than of ours: one call takes so long that what is cut off at the end of a window would count. */
const UNDER_WAY = 10;

/** A folder with the programs of the rivals and what they need. */
export interface Rivals {
  readonly folder: string;
}

/** Installs what is not yet there. Rejects with npm's words. */
export async function installRivals(report: (line: string) => void): Promise<Rivals> {
  const folder = join(
    CACHE,
    `rivals-${createHash("sha256").update(JSON.stringify(PACKAGES)).digest("hex").slice(0, 8)}`,
  );
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, "package.json"),
    JSON.stringify({ private: true, type: "module", dependencies: PACKAGES }),
  );
  const done = join(folder, "node_modules/.installed");
  if (!existsSync(done)) {
    report("Installing better-auth and oidc-provider into the cache, for the bench alone.");
    await run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: folder, env: process.env });
    writeFileSync(done, "");
  }
  // Packages are looked for from where a program lies.
  cpSync(PROGRAMS, folder, { recursive: true });
  return { folder };
}

export function rivalContenders({ folder }: Rivals, redis: BenchRedis): Contender[] {
  const rival = (id: string, title: string, isRight: (answer: object) => boolean): Contender => ({
    id,
    title,
    start: () =>
      startListening(join(folder, `${id}.mjs`), [redis.socketPath], { cwd: folder, env: { NODE_ENV: "production" } }),
    load: questionOf,
    isRight: (reply) => isRight(JSON.parse(reply.toString()) as object),
  });
  const of = (name: keyof typeof PACKAGES) => `${name} ${PACKAGES[name]}`;
  return [
    rival("oidc-provider", `${of("oidc-provider")}, introspection`, (answer) => Reflect.get(answer, "active") === true),
    rival("better-auth", `${of("better-auth")}, verifyApiKey`, (answer) => Reflect.get(answer, "valid") === true),
  ];
}

/** The programs tell themselves what is to be asked of them. */
async function questionOf(address: string): Promise<Http1Call> {
  const response = await fetch(`http://${address}/question`);
  const question = (await response.json()) as { path: string; headers: Record<string, string>; body: string };
  return { kind: "http1", ...question, body: Buffer.from(question.body), underWay: UNDER_WAY };
}
