// What the bench says while it works: one line that changes on a terminal, a line for each step elsewhere.

let shown = "";

/** Says what is being done now. */
export function report(text: string): void {
  if (text === shown) return;
  shown = text;
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
  else if (!/\d tokens$/.test(text)) process.stderr.write(`${text}\n`);
}

/** Says something that stays; empty: only clears the line. */
export function tell(text: string): void {
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
  if (text !== "") process.stderr.write(`${text}\n`);
}
