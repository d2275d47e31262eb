// What clients asked of one token name and what they were answered: what the load records and the checker judges, what a
// lone client would be answered, and how to say it in words. Histories that broke a promise are kept as files.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** What was asked of one token name (one organization, one user, one name) and what was answered. Secrets appear as labels, never as token strings. */
export type Operation =
  | { readonly kind: "create" | "renew"; readonly secret: string } // label of the secret that it makes if it happens
  | { readonly kind: "revoke" }
  | { readonly kind: "verify"; readonly secret: string };
export type Outcome =
  | { readonly kind: "done"; readonly generation: number } // the mutation happened; create gives 1, renew the new one, revoke the one it ended
  | { readonly kind: "refused"; readonly as: "exists" | "missing" } // it did not happen, and says so of the state it met
  | { readonly kind: "verified"; readonly as: "current"; readonly generation: number }
  | { readonly kind: "verified"; readonly as: "superseded" | "unknown" }
  | { readonly kind: "open" }; // a mutation without an answer: it may have happened at any time after its call, or never
export interface Entry {
  readonly client: number;
  readonly callMs: number;
  readonly returnMs: number;
  readonly operation: Operation;
  readonly outcome: Outcome;
}
export type History = readonly Entry[];

/** The token at one moment: undefined when there is none. */
export type Token =
  | { readonly generation: number; readonly current: string; readonly previous: string | undefined }
  | undefined;

/** What an operation is answered that meets this token, and the token it leaves: the very same when it changes nothing. */
export function meet(token: Token, operation: Operation): { readonly answer: Outcome; readonly left: Token } {
  switch (operation.kind) {
    case "create":
      if (token) return { answer: { kind: "refused", as: "exists" }, left: token };
      return {
        answer: { kind: "done", generation: 1 },
        left: { generation: 1, current: operation.secret, previous: undefined },
      };
    case "renew": {
      if (!token) return { answer: { kind: "refused", as: "missing" }, left: token };
      const generation = token.generation + 1;
      return {
        answer: { kind: "done", generation },
        left: { generation, current: operation.secret, previous: token.current },
      };
    }
    case "revoke":
      if (!token) return { answer: { kind: "refused", as: "missing" }, left: token };
      return { answer: { kind: "done", generation: token.generation }, left: undefined };
    case "verify": {
      const { generation = 0, current, previous } = token ?? {};
      if (operation.secret === current) return { answer: { kind: "verified", as: "current", generation }, left: token };
      const as = operation.secret === previous ? "superseded" : "unknown";
      return { answer: { kind: "verified", as }, left: token };
    }
  }
}

/** An outcome in words; two outcomes are the same when these are. */
export function outcomeText(outcome: Outcome): string {
  switch (outcome.kind) {
    case "done":
      return `done, generation ${outcome.generation}`;
    case "refused":
      return `refused, ${outcome.as}`;
    case "verified":
      return outcome.as === "current" ? `current, generation ${outcome.generation}` : outcome.as;
    case "open":
      return "no answer";
  }
}

/** An entry in words, for the one who looks for what went wrong. */
export function entryText({ client, callMs, returnMs, operation, outcome }: Entry): string {
  const secret = "secret" in operation ? ` ${operation.secret}` : "";
  return `${operation.kind}${secret} by client ${client} from ${callMs} to ${returnMs} ms (${outcomeText(outcome)})`;
}

/** A token in words. */
export function tokenText(token: Token): string {
  if (!token) return "no token";
  const { generation, current, previous } = token;
  return `generation ${generation} with ${current} current${previous === undefined ? "" : ` and ${previous} superseded`}`;
}

/** A history in a file, and what the checker must say of it. */
export interface SavedHistory {
  readonly title: string;
  readonly linearizable: boolean;
  readonly history: History;
}

/** Keeps a history that broke a promise in a new file of the folder, named by its title; gives the file's path. */
export async function saveHistory(title: string, history: History, folder: string): Promise<string> {
  const saved: SavedHistory = { title, linearizable: false, history };
  const name =
    title
      .toLowerCase()
      .match(/[a-z0-9]+/g)
      ?.join("-") ?? "history";
  await mkdir(folder, { recursive: true });
  for (let number = 1; ; number++) {
    const path = join(folder, number === 1 ? `${name}.json` : `${name}-${number}.json`);
    try {
      await writeFile(path, `${JSON.stringify(saved, null, 2)}\n`, { flag: "wx" });
      return path;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
}

/** All saved histories of a folder, in the order of their file names. */
export async function readHistories(folder: string): Promise<SavedHistory[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith(".json")).sort();
  return Promise.all(files.map(async (file) => JSON.parse(await readFile(join(folder, file), "utf8")) as SavedHistory));
}
