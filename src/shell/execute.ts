// Carries out one statement: which call it makes and what came of it.
// Must not know how results and errors are shown.
import type { ApiToken, TokenEvent } from "../../gen/apitoken/v1/api_token.js";
import type { ApiTokenClient } from "./client.js";
import type { Statement } from "./parser.js";

const SECONDS_PER_DAY = 86_400;
const SECONDS_PER_HOUR = 3_600;

/** What a statement did. `token` is a secret: it is here to be shown once. */
export type Result =
  | { readonly kind: "list"; readonly apiTokens: readonly ApiToken[] }
  | { readonly kind: "events"; readonly events: readonly TokenEvent[] }
  | { readonly kind: "description"; readonly apiToken: ApiToken }
  | ChangeResult;

export interface ChangeResult {
  readonly kind: "change";
  readonly command: "CREATE" | "ALTER" | "DROP";
  readonly name: string;
  readonly summary: string;
  readonly token: string | undefined;
  readonly apiToken: ApiToken | undefined;
}

/** Throws RpcError when the server refuses or cannot be reached. */
export async function execute(statement: Statement, client: ApiTokenClient): Promise<Result> {
  switch (statement.kind) {
    case "create": {
      const { name, role, expiresInDays } = statement;
      const response = await client.createToken(name, role ?? "", scale(expiresInDays, SECONDS_PER_DAY));
      return change("CREATE", name, "created", response);
    }
    case "renew": {
      const { name, gracePeriodHours } = statement;
      const response = await client.renewToken(name, scale(gracePeriodHours, SECONDS_PER_HOUR));
      return change("ALTER", name, "refreshed", response);
    }
    case "drop": {
      const apiToken = await client.revokeToken(statement.name);
      return change("DROP", statement.name, "dropped", { apiToken, token: undefined });
    }
    case "describe": {
      const apiToken = await client.getToken(statement.name);
      if (apiToken === undefined) throw new Error("the server answered without a token");
      return { kind: "description", apiToken };
    }
    case "list":
      return { kind: "list", apiTokens: await client.listTokens(daysAhead(statement.expiringWithinDays)) };
    case "events":
      return { kind: "events", events: await client.listTokenEvents(statement.name) };
    default:
      return statement satisfies never;
  }
}

function change(
  command: ChangeResult["command"],
  name: string,
  done: string,
  { apiToken, token }: { apiToken: ApiToken | undefined; token: string | undefined },
): ChangeResult {
  const summary = `api_token ${name} was successfully ${done}`;
  return { kind: "change", command, name, summary, token, apiToken };
}

/** On this machine's clock. */
function daysAhead(days: number | undefined): Date | undefined {
  return days === undefined ? undefined : new Date(Date.now() + days * SECONDS_PER_DAY * 1000);
}

function scale(amount: number | undefined, seconds: number): number | undefined {
  return amount === undefined ? undefined : amount * seconds;
}
