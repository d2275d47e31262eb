// Reads settings from environment variables, one kind of value a method, and collects every fault instead of stopping at
// the first. Knows nothing of which variables there are: that is src/config.ts.
import { readFileSync } from "node:fs";

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** An empty variable counts as unset. Faults never repeat a value: it may be a password in the wrong place. */
export class Environment {
  readonly #variables: Readonly<Record<string, string | undefined>>;
  readonly #faults: string[] = [];
  readonly #settings = new Map<string, string>();

  constructor(variables: Readonly<Record<string, string | undefined>>) {
    this.#variables = variables;
  }

  get faults(): readonly string[] {
    return this.#faults;
  }

  /** What was read, as text, in order, with passwords masked; empty where nothing is set and there is no default. */
  get settings(): ReadonlyMap<string, string> {
    return this.#settings;
  }

  isSet(name: string): boolean {
    return Boolean(this.#variables[name]);
  }

  /** Variables with such a name that are set and were not read. */
  unknown(pattern: RegExp): string[] {
    const names = Object.keys(this.#variables).filter((name) => pattern.test(name) && this.isSet(name));
    // Kubernetes tells of its services in variables like these.
    return names.filter(
      (name) => !this.#settings.has(name) && !/_(?:SERVICE_HOST|(?:SERVICE_)?PORT(?:_.*)?)$/.test(name),
    );
  }

  /** Tells a setting's value in force where it is more than what was read. */
  show(name: string, words: readonly string[]): void {
    this.#settings.set(name, words.join(" "));
  }

  fault(text: string): void {
    this.#faults.push(text);
  }

  /** The parsed value; that of `fallback` when unset or faulty. `parse` answers undefined for a fault. */
  value<T>(name: string, fallback: string, rule: string, parse: (text: string) => T | undefined): T {
    const value = this.optional(name, rule, parse, fallback) ?? parse(fallback);
    if (value === undefined) throw new Error(`the default of ${name} is none`);
    return value;
  }

  /** As `value`, and undefined when there is none. */
  optional<T>(name: string, rule: string, parse: (text: string) => T | undefined, fallback = ""): T | undefined {
    const text = this.#variables[name] || fallback;
    this.#settings.set(name, masked(text));
    if (text === "") return undefined;
    const value = parse(text);
    if (value === undefined) this.fault(`${name} must be ${rule}`);
    return value;
  }

  text(name: string): string | undefined {
    return this.optional(name, "text", (text) => text);
  }

  /** The content of the file that is named. */
  file(name: string): string | undefined {
    return this.optional(name, "a file that can be read", (path) => {
      try {
        return readFileSync(path, "utf8");
      } catch {
        return undefined;
      }
    });
  }

  flag(name: string): boolean {
    return this.value(name, "0", "0 or 1", (text) => (/^[01]$/.test(text) ? text === "1" : undefined));
  }

  oneOf<const T extends string>(name: string, fallback: T, words: readonly T[]): T {
    return this.value(name, fallback, `one of ${words.join(", ")}`, (text) => words.find((word) => word === text));
  }

  wholeNumber(name: string, fallback: string, least: number, most: number): number {
    return this.value(name, fallback, `a whole number from ${least} to ${most}`, (text) => {
      const number = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
      return number >= least && number <= most ? number : undefined;
    });
  }

  /** Milliseconds of `90d`, `24h`, `30m`, `60s` or `500ms`; the bounds are written alike. */
  durationMs(name: string, fallback: string, least: string, most: string): number {
    const [leastMs = 0, mostMs = 0] = [least, most].map(parseDuration);
    return this.value(name, fallback, `from ${least} to ${most}, such as ${fallback}`, (text) => {
      const ms = parseDuration(text);
      return ms !== undefined && ms >= leastMs && ms <= mostMs ? ms : undefined;
    });
  }

  /** host:port */
  address(name: string, fallback = ""): string | undefined {
    return this.optional(
      name,
      "host:port",
      (text) => {
        const [, port] = /^(?:[\w.-]+|\[[\da-f:]+\]):(\d{1,5})$/i.exec(text) ?? [];
        return port !== undefined && Number(port) < 65_536 ? text : undefined;
      },
      fallback,
    );
  }

  /** `key=value` pairs separated by spaces, each key once. The last `=` divides: keys may hold some. */
  pairs<T>(name: string, rule: string, parse: (key: string, value: string) => T | undefined): ReadonlyMap<string, T> {
    const read = this.optional(name, rule, (text) => {
      const pairs = new Map<string, T>();
      for (const pair of text.trim().split(/\s+/)) {
        const at = pair.lastIndexOf("=");
        const key = pair.slice(0, Math.max(0, at));
        const value = parse(key, pair.slice(at + 1));
        if (key === "" || value === undefined || pairs.has(key)) return undefined;
        pairs.set(key, value);
      }
      return pairs;
    });
    return read ?? new Map();
  }
}

/** A URL without its password and the values of its parameters, which can be secrets too. */
function masked(text: string): string {
  if (!/^[a-z+]+:\/\//i.test(text)) return text;
  return text.replace(/^([a-z+]+:\/\/[^:@/]*:).*@/is, "$1***@").replace(/([?&][^=&]*=)[^&]*/g, "$1***");
}

function parseDuration(text: string): number | undefined {
  const [, amount = "", unit = ""] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text) ?? [];
  return unit in UNIT_MS ? Number(amount) * UNIT_MS[unit as keyof typeof UNIT_MS] : undefined;
}
