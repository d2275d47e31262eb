// The prompt: collects lines up to `;`, runs them, and goes on whatever came of them.
// Must not know how statements are run: `run` is given.
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { needsMoreInput } from "./scanner.js";

const PROMPT = "<no-db>/<no-store># ";
const CONTINUATION = "-> ".padStart(PROMPT.length);

const HELP = `CREATE API_TOKEN name [WITH ('token.role_name' = role, 'token.expires_in_days' = 30)];
LIST API_TOKENS [EXPIRING WITHIN 30 DAYS];
LIST API_TOKEN_EVENTS [FOR name];
ALTER API_TOKEN name RENEW TOKEN [WITH ('token.grace_period_hours' = 24)];
DROP API_TOKEN name;
DESCRIBE API_TOKEN name;
Names fold to lower case; "Double Quotes" keep them as they are. \\q or Ctrl-D ends, Ctrl-C drops the input.
`;

export interface Terminal {
  readonly input: Readable;
  readonly output: Writable;
}

/** Resolves when the user ends the session, and rejects with what `run` rejects with. */
export function runInteractive(terminal: Terminal, run: (text: string) => Promise<void>): Promise<void> {
  return new Prompt(terminal, run).ended;
}

class Prompt {
  readonly ended: Promise<void>;
  readonly #run: (text: string) => Promise<void>;
  readonly #output: Writable;
  readonly #readline: Interface;
  // Pasted lines arrive faster than statements end; they wait here for their turn.
  readonly #lines: string[] = [];
  #pending = "";
  #work: Promise<void> | undefined;
  #isClosed = false;

  constructor({ input, output }: Terminal, run: (text: string) => Promise<void>) {
    this.#run = run;
    this.#output = output;
    this.#readline = createInterface({ input, output, terminal: true, historySize: 1000 });
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
    const isFirst = this.#pending === "";
    this.#pending = isFirst ? line : `${this.#pending}\n${line}`;
    // A later line without `;` completes nothing; looking at the whole text for each one would be quadratic.
    const mayBeComplete = isFirst || line.includes(";");
    if (!mayBeComplete || needsMoreInput(this.#pending)) return;
    const text = this.#pending;
    this.#pending = "";
    await this.#run(text);
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
