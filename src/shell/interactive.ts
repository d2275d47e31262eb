// The prompt: collects lines up to `;`, runs them, and goes on whatever came of them.
// Must not know how statements are run: `run` is given, and so are the names of tokens for Tab.
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { complete } from "./completion.js";
import { HISTORY_SIZE, type History } from "./history.js";
import { GRAMMAR } from "./parser.js";
import { needsMoreInput } from "./scanner.js";

const PROMPT = "<no-db>/<no-store># ";
const CONTINUATION = "-> ".padStart(PROMPT.length);

const HELP = `${GRAMMAR}\
Names fold to lower case; "Double Quotes" keep them as they are. Tab completes keywords and names, Up brings back earlier
lines. \\? or help shows this, Ctrl-C drops the input, \\q or Ctrl-D ends.
`;

export interface Terminal {
  readonly input: Readable;
  readonly output: Writable;
  /** Earlier lines, and where to keep the new ones. */
  readonly history?: History;
  /** For completion; must not reject. */
  readonly names?: () => Promise<readonly string[]>;
}

/** Resolves when the user ends the session, and rejects with what `run` rejects with. */
export function runInteractive(terminal: Terminal, run: (text: string) => Promise<void>): Promise<void> {
  return new Prompt(terminal, run).ended;
}

class Prompt {
  readonly ended: Promise<void>;
  readonly #run: (text: string) => Promise<void>;
  readonly #output: Writable;
  readonly #history: History | undefined;
  readonly #readline: Interface;
  // Pasted lines arrive faster than statements end; they wait here for their turn.
  readonly #lines: string[] = [];
  #pending = "";
  #work: Promise<void> | undefined;
  #isClosed = false;

  constructor({ input, output, history, names = async () => [] }: Terminal, run: (text: string) => Promise<void>) {
    this.#run = run;
    this.#output = output;
    this.#history = history;
    this.#readline = createInterface({
      input,
      output,
      terminal: true,
      historySize: HISTORY_SIZE,
      history: history?.read().reverse() ?? [],
      completer: (line: string, callback: (error: null, result: [string[], string]) => void) => {
        void complete(this.#textWith(line), names).then(({ candidates, typed }) =>
          callback(null, [[...candidates], typed]),
        );
      },
    });
    this.ended = new Promise((resolve, reject) => {
      this.#readline.on("line", (line) => {
        this.#lines.push(line);
        this.#work ??= this.#takeLines().catch((error: unknown) => {
          reject(error);
          this.#readline.close();
        });
      });
      this.#readline.on("SIGINT", () => this.#dropInput());
      this.#readline.on("close", () => {
        // Ctrl-D leaves the cursor behind the prompt.
        if (!this.#isClosed) output.write("\n");
        this.#isClosed = true;
        // Lines that came before the end are still run, as they were entered.
        Promise.resolve(this.#work).then(resolve, reject);
      });
    });
    this.#showPrompt();
  }

  async #takeLines(): Promise<void> {
    for (let line = this.#lines.shift(); line !== undefined; line = this.#lines.shift()) {
      await this.#takeLine(line);
      if (!this.#isClosed && this.#lines.length === 0) this.#showPrompt();
    }
    this.#work = undefined;
  }

  async #takeLine(line: string): Promise<void> {
    const word = line.trim().replace(/;$/, "").toLowerCase();
    if (this.#pending === "" && ["\\q", "quit", "exit"].includes(word)) {
      this.#lines.length = 0;
      this.#isClosed = true;
      this.#readline.close();
    } else if (this.#pending === "" && ["help", "\\?"].includes(word)) {
      this.#output.write(HELP);
    } else {
      await this.#runIfComplete(line);
    }
  }

  async #runIfComplete(line: string): Promise<void> {
    this.#history?.add(line);
    const isFirst = this.#pending === "";
    this.#pending = this.#textWith(line);
    // A later line without `;` completes nothing; looking at the whole text for each one would be quadratic.
    const mayBeComplete = isFirst || line.includes(";");
    if (!mayBeComplete || needsMoreInput(this.#pending)) return;
    const text = this.#pending;
    this.#pending = "";
    await this.#run(text);
  }

  /** The lines entered so far and this one. */
  #textWith(line: string): string {
    return this.#pending === "" ? line : `${this.#pending}\n${line}`;
  }

  #dropInput(): void {
    this.#lines.length = 0;
    this.#pending = "";
    this.#readline.write(null, { ctrl: true, name: "e" });
    this.#readline.write(null, { ctrl: true, name: "u" });
    this.#output.write("^C\n");
    if (this.#work === undefined) this.#showPrompt();
  }

  #showPrompt(): void {
    this.#readline.setPrompt(this.#pending === "" ? PROMPT : CONTINUATION);
    this.#readline.prompt();
  }
}
