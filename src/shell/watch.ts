// Runs lists again and again, until Ctrl-C or a failure that will not pass.
// Must not know how statements are run or how results are shown.
import { setTimeout as delay } from "node:timers/promises";
import { parseStatements, type Statement } from "./parser.js";
import { type Outcome, runStatements, type SessionOptions } from "./session.js";
import { formatTime } from "./table.js";

const CLEAR_SCREEN = "\u001b[H\u001b[2J";
const LISTS: ReadonlySet<Statement["kind"]> = new Set(["list", "events"]);

/** False for text of other statements, or of none. A syntax error is told when the text is run. */
export function isWatchable(text: string): boolean {
  try {
    const statements = parseStatements(text);
    return statements.length > 0 && statements.every(({ kind }) => LISTS.has(kind));
  } catch {
    return true;
  }
}

/**
 * Runs the text each `seconds` seconds; before the results of a table comes the time, on an empty screen where `clears` says
 * so. A server that has answered and is away for a time is waited for. Throws as runStatements does.
 */
export async function watch(
  text: string,
  { seconds, clears }: { seconds: number; clears: boolean },
  session: SessionOptions,
): Promise<Outcome> {
  let hasAnswered = false;
  const heading = () => {
    if (session.format === "json") return "";
    const now = formatTime({ seconds: BigInt(Math.floor(Date.now() / 1000)), nanos: 0 });
    const separator = hasAnswered ? "\n" : "";
    return `${clears ? CLEAR_SCREEN : separator}${now}, every ${seconds} s\n`;
  };
  for (;;) {
    const outcome = await runStatements(text, { ...session, heading });
    const isAway = outcome === "unavailable" || outcome === "unreachable";
    if (outcome !== "done" && !(isAway && hasAnswered)) return outcome;
    hasAnswered = true;
    await delay(seconds * 1000);
  }
}
