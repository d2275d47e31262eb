// Runs statements one after the other and writes what they did, in a batch or at a prompt.
// Must not know where the text comes from.
import type { Writable } from "node:stream";
import type { ApiTokenClient } from "./client.js";
import { execute } from "./execute.js";
import { formatError, formatResult, type OutputFormat } from "./output.js";
import { parseStatements, type Statement } from "./parser.js";
import { RpcError } from "./rpc-error.js";

/** What the session works with; `server` is only shown. */
export interface SessionOptions {
  readonly client: ApiTokenClient;
  readonly server: string;
  readonly format: OutputFormat;
  readonly stdout: Writable;
  readonly stderr: Writable;
}

export type Outcome = "done" | "failed" | "unreachable";

/**
 * Runs the statements of `text` up to the first that fails. A syntax error anywhere is found before the first one runs.
 * Throws OutputError when stdout takes no more: a token made then could be shown to nobody.
 */
export async function runStatements(text: string, session: SessionOptions): Promise<Outcome> {
  const { client, server, format, stdout, stderr } = session;
  let current: Statement | undefined;
  try {
    for (const statement of parseStatements(text)) {
      current = statement;
      const result = await execute(statement, client);
      await write(stdout, formatResult(result, format));
    }
    return "done";
  } catch (error) {
    if (error instanceof OutputError) throw error;
    await write(stderr, formatError(error, current, server));
    return error instanceof RpcError && error.isUnreachable ? "unreachable" : "failed";
  }
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
