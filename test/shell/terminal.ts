// The built shell in a pseudo-terminal of its own, as a person has it before them.
import { type IPty, spawn } from "@lydell/node-pty";
import { eventually } from "../harness.js";

const PROGRAM = new URL("../../src/shell/main.js", import.meta.url).pathname;
export const PROMPT = "<no-db>/<no-store># ";

export class Terminal {
  readonly #pty: IPty;
  readonly ended: Promise<{ readonly exitCode: number; readonly signal: number | undefined }>;
  /** All that was ever shown, escape sequences and all. */
  shown = "";

  constructor(args: readonly string[], env: Readonly<Record<string, string>>) {
    const { NO_COLOR: _colour, APITOKEN_TOKEN: _token, APITOKEN_HISTORY: _history, ...inherited } = process.env;
    this.#pty = spawn(process.execPath, [PROGRAM, ...args], {
      name: env["TERM"] ?? "xterm-256color",
      cols: 400,
      rows: 50,
      env: { ...inherited, ...env },
    });
    this.#pty.onData((text) => {
      this.shown += text;
    });
    this.ended = new Promise((resolve) => {
      this.#pty.onExit(({ exitCode, signal }) => resolve({ exitCode, signal }));
    });
  }

  /** Waits for the prompt with `line` typed behind it, as the last line. */
  atPrompt(line = "", prompt = PROMPT): Promise<void> {
    return eventually(() => {
      const last = rendered(this.shown).split("\n").at(-1);
      if (last !== prompt + line) throw new Error(`the last line is ${JSON.stringify(last)}`);
    });
  }

  type(keys: string): void {
    this.#pty.write(keys);
  }

  /** Types the text and presses Tab: a key of its own, for one in a pasted text is text. Waits for what has become of it. */
  async complete(text: string, expected: string, prompt = PROMPT): Promise<void> {
    this.type(text);
    await eventually(() => {
      if (!rendered(this.shown).endsWith(text)) throw new Error("the text is not there yet");
    });
    this.type("\t");
    await this.atPrompt(expected, prompt);
  }

  /** Types the line at a prompt and gives what is shown for it, with ESC as `␛`, when the next prompt is there. */
  async enter(line: string): Promise<string> {
    await this.atPrompt();
    const before = this.shown.length;
    this.type(`${line}\r`);
    await eventually(() => {
      if (!rendered(this.shown.slice(before)).endsWith(`\n${PROMPT}`)) throw new Error("there is no new prompt");
    });
    return legible(this.shown.slice(before));
  }

  /** Waits until something is shown after the first `from` characters, with ESC as `␛`. */
  shows(pattern: RegExp, from = 0): Promise<void> {
    return eventually(() => {
      const text = legible(this.shown.slice(from));
      if (!pattern.test(text)) throw new Error(`${pattern} is not in ${JSON.stringify(text)}`);
    });
  }

  close(): void {
    this.#pty.kill("SIGKILL");
  }
}

export function legible(bytes: string): string {
  return bytes.replaceAll("\u001b", "␛");
}

/** What a terminal shows of these bytes: readline redraws its line, so only the last drawing of each counts. */
export function rendered(bytes: string): string {
  const lines = bytes.replaceAll("\r\n", "\n").split("\n");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the terminal's own sequences
  const shown = lines.map((line) => (line.split(/\u001b\[1G/).at(-1) ?? "").replace(/\u001b\[[\d;]*[A-Za-z]|\r/g, ""));
  return shown.join("\n");
}
