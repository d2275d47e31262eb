// Programs of people who install the package: run as ES modules and as CommonJS, and type-checked as both.

const BODY = `
const { tokens, verification, close } = connect({ server: process.env.APITOKEN_SERVER ?? "", insecure: true });
run().then(close);

async function run() {
  const requestId = crypto.randomUUID();
  const created = await tokens.createToken({ name: NAME, ttl: { seconds: 3600n, nanos: 0 }, requestId });
  const again = await tokens.createToken({ name: NAME, ttl: { seconds: 3600n, nanos: 0 }, requestId });
  const answer = await verification.verifyToken({ token: created.token });
  const dead = await verification.verifyToken({ token: created.token + "x" });
  const refusal = await tokens.getToken({ name: "nothing" }).catch((error) => error);
  await tokens.revokeToken({ name: NAME });
  console.log([
    again.replayed && again.token === created.token,
    answer.active && answer.secret === Secret.SECRET_CURRENT && answer.apiToken?.name === NAME,
    dead.reason === InactiveReason.INACTIVE_REASON_MALFORMED,
    refusal instanceof Refusal && refusal.code === "NOT_FOUND" && refusal.reason === "TOKEN_NOT_FOUND",
    CreateTokenRequest.decode(CreateTokenRequest.encode(CreateTokenRequest.fromPartial({ name: NAME })).finish()).name === NAME,
  ].join(" "));
}
`;
const NAMES = "connect, CreateTokenRequest, InactiveReason, Refusal, Secret";

/** What both programs print. */
export const PRINTED = "true true true true true\n";

export const ESM = `import { ${NAMES} } from "api-token-service";
const NAME = "esm";
${BODY}`;

/** Also looks at what importing it has loaded, and finds the files that are exported. */
export const COMMONJS = `const { ${NAMES} } = require("api-token-service");
const loaded = Object.keys(require.cache).filter((path) => path.includes("/api-token-service/"));
const strangers = loaded.filter((path) => !/[/]dist[/]commonjs[/](?:gen|src[/]client)[/]/.test(path));
if (strangers.length > 0) throw new Error("importing it loads " + strangers);
for (const file of ["proto/apitoken/v1/api_token.proto", "descriptor.binpb", "service-config.json", "package.json"]) {
  require("node:fs").readFileSync(require.resolve("api-token-service/" + file));
}
const NAME = "commonjs";
${BODY}`;

const TYPED_BODY = `
export async function check(): Promise<bigint> {
  const { tokens, verification }: Connection = connect({ server: "dns:///a:1", token: async () => "t", tls: { ca: "" } });
  const { apiToken }: RenewTokenResponse = await tokens.renewToken({ name: "a" }, { timeoutMs: 1000 });
  const [answer] = (await verification.verifyTokens({ tokens: [] })).results;
  // @ts-expect-error a field that there is not
  await tokens.getToken({ nam: "a" });
  const error: unknown = answer;
  return error instanceof Refusal ? BigInt(error.retryAfterMs ?? 0) : (apiToken?.generation ?? 0n);
}
`;
const TYPED_NAMES = "connect, type Connection, Refusal, type RenewTokenResponse";

/** One file of each kind, for the settings of TypeScript that there are. */
export const TYPED = {
  "typed.mts": `import { ${TYPED_NAMES} } from "api-token-service";\n${TYPED_BODY}`,
  "typed.cts": `import { ${TYPED_NAMES} } from "api-token-service";\n${TYPED_BODY}`,
};
