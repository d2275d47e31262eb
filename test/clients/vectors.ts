// The shared vectors in test/vectors, and what a client prints for each of them.
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

export const ROOT = resolve(import.meta.dirname, "../../..");
const FOLDER = join(ROOT, "test/vectors");

/** In this order: the page sizes are for a user without any other tokens. */
export const VECTOR_FILES = ["page-sizes", "tokens", "names", "errors"].map((name) => join(FOLDER, `${name}.json`));
/** Calls while the store takes no changes; no vector for everybody, for the server must be in that state. */
export const OUTAGE_FILE = join(ROOT, "test/clients/outage.json");

interface Refusal {
  readonly code: string;
  readonly reason: string;
  readonly sql_state: string;
  readonly violations: readonly { readonly field: string; readonly description: string }[];
}

/** A file has one of the four lists. */
interface Vectors {
  readonly tokens?: readonly { readonly id: string; readonly reason: string }[];
  readonly names?: readonly { readonly id: string; readonly refusal?: Refusal }[];
  readonly page_sizes?: readonly {
    readonly id: string;
    readonly pages?: readonly number[];
    readonly refusal?: Refusal;
  }[];
  readonly calls?: readonly { readonly id: string; readonly refusal: Refusal }[];
}

/** All that a client has to print for these files. */
export function expectedOutcomes(files: readonly string[]): string {
  return files.flatMap((file) => outcomesOf(JSON.parse(readFileSync(file, "utf8")) as Vectors)).join("");
}

function outcomesOf({ tokens = [], names = [], page_sizes: pageSizes = [], calls = [] }: Vectors): string[] {
  return [
    ...tokens.map(({ id, reason }) => `token, ${id}: ${reason}\n`),
    ...names.map(({ id, refusal }) => `name, ${id}: ${refusal ? textOf(refusal) : "created"}\n`),
    ...pageSizes.map(({ id, pages, refusal }) => `page size, ${id}: ${refusal ? textOf(refusal) : pages?.join(" ")}\n`),
    ...calls.map(({ id, refusal }) => `call, ${id}: ${textOf(refusal)}\n`),
  ];
}

function textOf({ code, reason, sql_state: sqlState, violations }: Refusal): string {
  const fields = violations.map(({ field, description }) => ` [${field}: ${description}]`);
  return `${code} apitoken.v1/${reason} ${sqlState}${fields.join("")}`;
}
