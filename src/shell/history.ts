// The lines entered at the prompt, kept in a file from session to session.
// It never keeps what could be a secret, and no failure to read or write it disturbs the session.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";

/** So many lines are kept, in the file and at the prompt. */
export const HISTORY_SIZE = 1000;
const MAX_LINE_LENGTH = 1000;
/** Tokens, JWTs and keys are such runs, and so is a part of one that was pasted by mistake. */
const SECRET = /[\w.~+/=-]{40}/;

export class History {
  readonly #file: string | undefined;

  /** Without a file nothing is kept. */
  constructor(file: string | undefined) {
    this.#file = file;
  }

  /** The latest lines, oldest first. */
  read(): string[] {
    if (this.#file === undefined) return [];
    try {
      return readFileSync(this.#file, "utf8").split("\n").filter(isKept).slice(-HISTORY_SIZE);
    } catch {
      return [];
    }
  }

  /** Puts the line behind those of the file, to which another session may have added; the file is whole at any moment. */
  add(line: string): void {
    if (this.#file === undefined || !isKept(line)) return;
    const lines = this.read();
    if (lines.at(-1) === line) return;
    const draft = `${this.#file}.${process.pid}`;
    try {
      mkdirSync(dirname(this.#file), { recursive: true, mode: 0o700 });
      writeFileSync(draft, [...lines, line].slice(-HISTORY_SIZE).join("\n").concat("\n"), { mode: 0o600 });
      renameSync(draft, this.#file);
    } catch {
      // A full or read-only disk: the session goes on without.
    }
  }
}

/** APITOKEN_HISTORY, where empty means none; else the place of the XDG Base Directory Specification. */
export function historyFile(env: NodeJS.ProcessEnv): string | undefined {
  const { APITOKEN_HISTORY: chosen, XDG_STATE_HOME: stateHome = "" } = env;
  if (chosen !== undefined) return chosen || undefined;
  // The specification takes a relative path for none.
  const base = isAbsolute(stateHome) ? stateHome : join(env["HOME"] || homedir(), ".local", "state");
  return join(base, "apitoken", "history");
}

/** Also for what is read: somebody else may have written the file, and its lines are shown on a terminal. */
function isKept(line: string): boolean {
  return line.trim() !== "" && line.length <= MAX_LINE_LENGTH && !SECRET.test(line) && !/\p{C}/u.test(line);
}
