// The log: JSON lines on standard error, written behind the program's back. A disk that is full or a reader that stalls
// costs lines, and never the service.
import { write } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { type Logger, pino } from "pino";

const STDERR = 2;
const MAX_WAITING_CHARACTERS = 1 << 20;
const RETRY_MS = 50;

/** Lines that wait for the file behind a descriptor; beyond a megabyte new ones are dropped. */
class LogWriter {
  #waiting = "";
  #isWriting = false;

  write(line: string): void {
    if (this.#waiting.length > MAX_WAITING_CHARACTERS) return;
    this.#waiting += line;
    if (!this.#isWriting) this.#writeWaiting();
  }

  /** Resolves when all is written, or after the limit; whether it was. */
  async flush(limitMs: number): Promise<boolean> {
    const endMs = performance.now() + limitMs;
    while (this.#isWriting && performance.now() < endMs) await delay(5);
    return !this.#isWriting;
  }

  #writeWaiting(): void {
    const bytes = Buffer.from(this.#waiting);
    this.#waiting = "";
    this.#isWriting = bytes.length > 0;
    if (this.#isWriting) this.#writeBytes(bytes);
  }

  #writeBytes(bytes: Buffer): void {
    write(STDERR, bytes, (error, written) => {
      const rest = bytes.subarray(error ? 0 : written);
      if (error?.code === "EAGAIN") setTimeout(() => this.#writeBytes(bytes), RETRY_MS).unref();
      else if (error || rest.length === 0) this.#writeWaiting();
      else this.#writeBytes(rest);
    });
  }
}

/** `flush`: see LogWriter. */
export function openLog(level: string): { log: Logger; flush: (limitMs: number) => Promise<boolean> } {
  const writer = new LogWriter();
  return { log: pino({ level, base: null }, writer), flush: (limitMs) => writer.flush(limitMs) };
}
