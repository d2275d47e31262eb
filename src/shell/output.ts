// Shows what statements did, as tables or as JSON, and why they failed.
// Must not make calls or write anywhere: it only returns text.
import {
  type ApiToken,
  type TokenEvent,
  type TokenEventKind,
  tokenEventKindToJSON,
} from "../../gen/apitoken/v1/api_token.js";
import type { Timestamp } from "../../gen/google/protobuf/timestamp.js";
import type { ChangeResult, Result } from "./execute.js";
import type { Statement } from "./parser.js";
import { RpcError } from "./rpc-error.js";
import { StatementSyntaxError } from "./scanner.js";
import { PLAIN, type Style } from "./style.js";
import { type Cell, type Column, formatTime, renderTable } from "./table.js";
import { escapeControls, shorten } from "./terminal-text.js";

export type OutputFormat = "table" | "json";

const MAX_CAUSE_LENGTH = 500;
/** What ends within a week is shown as a warning. */
const SOON_MS = 7 * 86_400_000;
const READING: ReadonlySet<Statement["kind"]> = new Set(["list", "events", "describe"]);

/** How a result is shown. `nowMs`: what expires soon is seen from there. */
export interface Look {
  readonly style: Style;
  readonly nowMs: number;
}

const PLAIN_LOOK: Look = { style: PLAIN, nowMs: 0 };

/** The text for stdout, ended by a newline. JSON is one document on one line, in ASCII. */
export function formatResult(result: Result, format: OutputFormat, look: Look = PLAIN_LOOK): string {
  return format === "json" ? formatJson(jsonOf(result)) : tableOf(result, look);
}

/**
 * `ERROR <sql_state>: <message>`, then one indented line for each violated field, for why the server cannot be
 * reached, and for a change that may have happened all the same. Names the token itself, as the server's texts are fixed ones.
 */
export function formatError(
  error: unknown,
  statement: Statement | undefined,
  server: string,
  style: Style = PLAIN,
): string {
  const [message, ...details] = errorLines(error, statement, server).map(escapeControls);
  return [`${style.error("ERROR")} ${message}\n`, ...details.map((detail) => `  ${detail}\n`)].join("");
}

function errorLines(error: unknown, statement: Statement | undefined, server: string): string[] {
  if (error instanceof StatementSyntaxError) return [`42601: ${error.message}`];
  if (!(error instanceof RpcError)) return [`XX000: ${error instanceof Error ? error.message : String(error)}`];
  const isChange = statement !== undefined && !READING.has(statement.kind);
  const warnings = isChange && error.mayHaveHappened ? ["the statement may have taken effect"] : [];
  if (error.isUnreachable) return [`08006: cannot reach the server at ${server}`, causeOf(error), ...warnings];
  const violations = error.violations.map(({ field, description }) => `${field}: ${description}`);
  return [`${error.sqlState ?? "XX000"}: ${messageOf(error, statement)}`, ...violations, ...warnings];
}

/** What grpc-js says of the connection, without the note that it leaves empty. */
function causeOf({ message }: RpcError): string {
  return shorten(message.replace(/ Resolution note: $/, ""), MAX_CAUSE_LENGTH);
}

function messageOf(error: RpcError, statement: Statement | undefined): string {
  const name = statement !== undefined && "name" in statement ? statement.name : undefined;
  if (name !== undefined && error.reason === "TOKEN_NOT_FOUND") return `api_token ${name} does not exist`;
  if (name !== undefined && error.reason === "TOKEN_ALREADY_EXISTS") return `api_token ${name} already exists`;
  return error.message;
}

function tableOf(result: Result, look: Look): string {
  switch (result.kind) {
    case "list": {
      const rows = result.apiTokens.map((token) => [token.name, ...timesOf(token, look)]);
      return renderTable(columns("Name", "Last Used", "Created At", "Expires At"), rows, look.style);
    }
    case "events": {
      const titles = columns("Time", "Event", "Name", "Uid", "Generation", "Actor");
      return renderTable(titles, result.events.map(eventRow), look.style);
    }
    case "description":
      return descriptionTable(result.apiToken, look);
    case "change":
      return changeTable(result, look.style);
    default:
      return result satisfies never;
  }
}

function descriptionTable(apiToken: ApiToken, look: Look): string {
  const titles = ["Name", "Uid", "Role", "Generation", "Last Used", "Created At", "Expires At"];
  const { name, uid, role, generation, previousSecretExpireTime } = apiToken;
  const row = [name, uid, orNull(role), String(generation), ...timesOf(apiToken, look)];
  const rows = [[...row, formatTime(previousSecretExpireTime)]];
  return renderTable(columns(...titles, "Previous Secret Until"), rows, look.style);
}

function changeTable({ name, command, summary, token }: ChangeResult, style: Style): string {
  const heads = columns("Type", "Name", "Command", "Summary");
  const row = ["api_token", name, command, summary];
  if (token === undefined) return renderTable(heads, [row], style);
  return renderTable([...heads, { title: "Token", wraps: false }], [[...row, token]], style);
}

function eventRow({ kind, eventTime, name, uid, generation, actor }: TokenEvent): string[] {
  return [formatTime(eventTime), eventWord(kind), name, uid, String(generation), orNull(actor)];
}

/** `superseded_use` for TOKEN_EVENT_KIND_SUPERSEDED_USE; `unknown` for a number that only a later server knows. */
function eventWord(kind: TokenEventKind): string {
  const name = tokenEventKindToJSON(kind);
  return name === "UNRECOGNIZED" ? "unknown" : name.replace("TOKEN_EVENT_KIND_", "").toLowerCase();
}

function orNull(text: string): string {
  return text === "" ? "<null>" : text;
}

function columns(...titles: readonly string[]): Column[] {
  return titles.map((title) => ({ title, wraps: true }));
}

function timesOf({ lastUsedTime, createTime, expireTime }: ApiToken, { nowMs }: Look): Cell[] {
  const isSoon = expireTime !== undefined && Number(expireTime.seconds) * 1000 < nowMs + SOON_MS;
  const end = formatTime(expireTime);
  return [formatTime(lastUsedTime), formatTime(createTime), isSoon ? { warning: end } : end];
}

function jsonOf(result: Result): unknown {
  switch (result.kind) {
    case "list":
      return { api_tokens: result.apiTokens.map(apiTokenJson) };
    case "events":
      return { events: result.events.map(eventJson) };
    case "description":
      return { api_token: apiTokenJson(result.apiToken) };
    case "change": {
      const { command, name, summary, token, apiToken } = result;
      const api_token = apiToken === undefined ? undefined : apiTokenJson(apiToken);
      return { type: "api_token", name, command, summary, token, api_token };
    }
    default:
      return result satisfies never;
  }
}

/** Every field is always there; what is unset is null. */
function apiTokenJson(apiToken: ApiToken): unknown {
  return {
    uid: apiToken.uid,
    organization_id: apiToken.organizationId,
    user_id: apiToken.userId,
    name: apiToken.name,
    role: apiToken.role,
    create_time: timeJson(apiToken.createTime),
    expire_time: timeJson(apiToken.expireTime),
    last_used_time: timeJson(apiToken.lastUsedTime),
    ttl: apiToken.ttl === undefined ? null : `${Number(apiToken.ttl.seconds) + apiToken.ttl.nanos / 1e9}s`,
    generation: Number(apiToken.generation),
    etag: apiToken.etag,
    previous_secret_expire_time: timeJson(apiToken.previousSecretExpireTime),
  };
}

function eventJson(event: TokenEvent): unknown {
  return {
    kind: tokenEventKindToJSON(event.kind),
    event_time: timeJson(event.eventTime),
    uid: event.uid,
    organization_id: event.organizationId,
    user_id: event.userId,
    name: event.name,
    generation: Number(event.generation),
    actor: event.actor,
  };
}

function timeJson(time: Timestamp | undefined): string | null {
  if (time === undefined) return null;
  const date = new Date(Number(time.seconds) * 1000 + Math.floor(time.nanos / 1e6));
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

/** Only ASCII, so that a terminal shows the document and does not obey it. */
function formatJson(value: unknown): string {
  const ascii = JSON.stringify(value).replace(/[\u007f-\uffff]/g, (unit) => {
    return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
  return `${ascii}\n`;
}
