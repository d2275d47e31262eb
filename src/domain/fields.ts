// Checks request fields and collects every violation, so that a caller learns all of them at once.
// Descriptions are fixed texts: input never comes back in an error.
import type { Principal } from "./access.js";
import { ApiTokenError, type Violation } from "./errors.js";
import { decodePageToken } from "./page-token.js";
import {
  ALL_USERS,
  DEFAULT_PAGE_SIZE,
  DEFAULT_TTL_MS,
  MAX_GRACE_PERIOD_MS,
  MAX_NAME_LENGTH,
  MAX_PAGE_SIZE,
  MIN_TTL_MS,
} from "./token.js";
import { isUid } from "./token-string.js";

/** google.protobuf.Duration as it arrives: any seconds, any nanos. */
export interface DurationField {
  readonly seconds: bigint;
  readonly nanos: number;
}

/** google.protobuf.Timestamp as it arrives, likewise. */
export type TimestampField = DurationField;

const PRINTABLE = /^(?! )[\x20-\x7e]+(?<! )$/;
const PRINTABLE_RULE = "must be printable ASCII characters with no space at either end";
const USER_ID = /^[\x21-\x7e]{1,255}$/;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const NIL_UUID = /^[0-]+$/;
/** The years 1 to 9999: what a google.protobuf.Timestamp may hold. */
const FIRST_SECOND = BigInt(Date.parse("0001-01-01T00:00:00Z") / 1000);
const LAST_SECOND = BigInt(Date.parse("9999-12-31T23:59:59Z") / 1000);
const MAX_ETAG_LENGTH = 128;
const MAX_BATCH = 100;

/** True for what identities may be called; `-` means every user and is nobody's name. */
export function isIdentityName(text: string): boolean {
  return USER_ID.test(text) && text !== ALL_USERS;
}

/** One request's checks. Call a method per field, then `refuseViolations` before anything is done with the values. */
export class Fields {
  readonly #violations: Violation[] = [];

  /** Throws INVALID_FIELD with all violations so far, if there are any. */
  refuseViolations(): void {
    if (this.#violations.length > 0) throw new ApiTokenError("INVALID_FIELD", { violations: this.#violations });
  }

  name(value: string): string {
    if (value === "") return this.#violation("name", "is required", value, "missing");
    return this.#printable("name", value);
  }

  /** The name or the uid to look for; neither means everything. */
  nameOrUid(name: string, uid: string): { name: string | undefined; uid: string | undefined } {
    if (name !== "" && uid !== "") this.#violation("uid", "must not be given together with name", uid);
    if (uid !== "" && !isUid(uid)) this.#violation("uid", "must be 28 letters and digits", uid);
    return { name: name === "" ? undefined : this.#printable("name", name), uid: uid || undefined };
  }

  role(value: string): string {
    return value === "" ? value : this.#printable("role", value);
  }

  /** The lifetime in milliseconds; the default when unset. */
  ttl(value: DurationField | undefined, maxMs: number): number {
    if (value === undefined) return Math.min(DEFAULT_TTL_MS, maxMs);
    return this.#duration("ttl", value, MIN_TTL_MS, maxMs);
  }

  /** The grace period in milliseconds; 0 when unset. */
  gracePeriod(value: DurationField | undefined): number {
    return value === undefined ? 0 : this.#duration("grace_period", value, 0, MAX_GRACE_PERIOD_MS);
  }

  /** The UUID in lower case; undefined when not given. */
  requestId(value: string): string | undefined {
    if (value === "") return undefined;
    if (!UUID.test(value) || NIL_UUID.test(value)) {
      return this.#violation("request_id", "must be a UUID other than the nil UUID", value);
    }
    return value.toLowerCase();
  }

  etag(value: string): string {
    if (value.length <= MAX_ETAG_LENGTH) return value;
    return this.#violation("etag", `must have at most ${MAX_ETAG_LENGTH} characters`, value);
  }

  /** The user asked for; `callerId` when not given. */
  userId(value: string, callerId: string): string {
    if (value === "") return callerId;
    if (isIdentityName(value)) return value;
    return this.#violation("user_id", "must be 1 to 255 visible ASCII characters that name one user", value);
  }

  /** As `userId`, and `-` for every user. */
  userIdOrAll(value: string, callerId: string): string {
    return value === ALL_USERS ? value : this.userId(value, callerId);
  }

  pageSize(value: number): number {
    if (value < 0) return this.#violation("page_size", "must not be negative", value);
    return value === 0 ? DEFAULT_PAGE_SIZE : Math.min(value, MAX_PAGE_SIZE);
  }

  /** The first millisecond that is not before that instant; undefined when not given. */
  expireBefore(value: TimestampField | undefined): number | undefined {
    if (value === undefined) return undefined;
    const { seconds, nanos } = value;
    if (seconds < FIRST_SECOND || seconds > LAST_SECOND) {
      return this.#violation("expire_before", "must be in the years 1 to 9999", undefined);
    }
    if (nanos < 0 || nanos > 999_999_999) {
      return this.#violation("expire_before", "must have nanos from 0 to 999999999", undefined);
    }
    return Number(seconds) * 1000 + Math.ceil(nanos / 1_000_000);
  }

  /** What is verified at once; each of them may be anything. */
  tokens(values: readonly string[]): void {
    if (values.length === 0) this.#violation("tokens", "is required", undefined, "missing");
    if (values.length > MAX_BATCH) this.#violation("tokens", `must have at most ${MAX_BATCH} entries`, undefined);
  }

  /** The position that `isPosition` accepts; undefined for the first page. `query`: see encodePageToken. */
  pageToken<Position extends readonly string[]>(
    value: string,
    caller: Principal,
    query: readonly string[],
    isPosition: (position: readonly string[]) => position is Position,
  ): Position | undefined {
    if (value === "") return undefined;
    const position = decodePageToken(caller, query, value);
    if (position !== undefined && isPosition(position)) return position;
    return this.#violation("page_token", "is not a page token of this query and caller", undefined);
  }

  #printable(field: string, value: string): string {
    if (value.length > MAX_NAME_LENGTH) {
      return this.#violation(field, `must have at most ${MAX_NAME_LENGTH} characters`, value, "too-long");
    }
    return PRINTABLE.test(value) ? value : this.#violation(field, PRINTABLE_RULE, value);
  }

  #duration(field: string, { seconds, nanos }: DurationField, minMs: number, maxMs: number): number {
    if (nanos < -999_999_999 || nanos > 999_999_999 || (seconds > 0n && nanos < 0) || (seconds < 0n && nanos > 0)) {
      return this.#violation(field, "must have nanos within one second and of the sign of seconds", 0);
    }
    const totalNanos = seconds * 1_000_000_000n + BigInt(nanos);
    if (totalNanos < BigInt(minMs) * 1_000_000n || totalNanos > BigInt(maxMs) * 1_000_000n) {
      return this.#violation(field, `must be from ${minMs / 1000} to ${maxMs / 1000} seconds`, 0);
    }
    if (totalNanos % 1_000_000n !== 0n) return this.#violation(field, "must be in whole milliseconds", 0);
    return Number(totalNanos / 1_000_000n);
  }

  /** Records the violation and gives the value back, for the checks that follow. */
  #violation<T>(field: string, description: string, value: T, kind: Violation["kind"] = "invalid"): T {
    this.#violations.push({ field, description, kind });
    return value;
  }
}
