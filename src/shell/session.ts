// Runs statements one after the other and writes what they did, in a batch or at a prompt.
// Must not know where the text comes from.
import type { Writable } from "node:stream";
import type { ApiTokenClient } from "./client.js";
import { execute } from "./execute.js";
import { formatError, formatResult, type OutputFormat } from "./output.js";
import { parseStatements, type Statement } from "./parser.js";
import { RpcError } from "./rpc-error.js";
import type { Style } from "./style.js";

/** Where text goes, and how it looks there. */
export interface Output {
  readonly stream: Writable;
  readonly style: Style;
}

/** What the session works with; `server` is only shown. */
export interface SessionOptions {
  readonly client: ApiTokenClient;
  readonly server: string;
  readonly format: OutputFormat;
  readonly stdout: Output;
  readonly stderr: Output;
  /** What comes before the first result. */
  readonly heading?: () => string;
}

/** `unavailable`: the server is there and cannot do it now; `unreachable`: it is not there. */
export type Outcome = "done" | "failed" | "unavailable" | "unreachable";

/**
 * Runs the statements of `text` up to the first that fails. A syntax error anywhere is found before the first one runs.
 * Throws OutputError when stdout takes no more: a token made then could be shown to nobody.
 */
export async function runStatements(text: string, session: SessionOptions): Promise<Outcome> {
  const { client, server, format, stdout, stderr } = session;
  let current: Statement | undefined;
  let { heading } = session;
  try {
    for (const statement of parseStatements(text)) {
      current = statement;
      const result = await execute(statement, client);
      const shown = formatResult(result, format, { style: stdout.style, nowMs: Date.now() });
      await write(stdout.stream, `${heading?.() ?? ""}${shown}`);
      heading = undefined;
    }
    return "done";
  } catch (error) {
    if (error instanceof OutputError) throw error;
    await write(stderr.stream, formatError(error, current, server, stderr.style));
    return outcomeOf(error);
  }
}

function outcomeOf(error: unknown): Outcome {
  if (!(error instanceof RpcError) || !error.isTransient) return "failed";
  return error.isUnreachable ? "unreachable" : "unavailable";
}

/** Standard output is closed, full or broken. */
export class OutputError extends Error {
  override readonly name = "OutputError";
  readonly isClosedPipe: boolean;

  constructor(cause: NodeJS.ErrnoException) {
    super(`cannot write the output: ${cause.message}`, { cause });
    this.isClosedPipe = cause.code === "EPIPE";
  }
}

/** Resolves when the text was handed over. Throws OutputError. */
export function write(stream: Writable, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(text, (error) => (error ? reject(new OutputError(error)) : resolve()));
  });
}
