// The program behind `npm run local-issuer`: keys, certificates and tokens to try the server on a network with, in a
// folder of their own. For trying only: whoever reads the folder is everybody.
import { chmod, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { createAuthority } from "./certificates.js";
import { createIssuer } from "./issuer.js";

const TOKEN_LIFETIME_SECONDS = 12 * 3600;
const GATEWAY = "spiffe://example.org/gateway";

const { values } = parseArgs({ options: { dir: { type: "string", default: "data/local-issuer" } } });
const files = await makeFiles(values.dir);
await writeFolder(values.dir, files);
process.stdout.write(instructions(values.dir));

async function makeFiles(dir: string): Promise<Readonly<Record<string, string>>> {
  const [authority, issuer] = await Promise.all([createAuthority("local-issuer, for trying only"), createIssuer()]);
  const server = await authority.issue({
    commonName: "localhost",
    usage: "server",
    dnsNames: ["localhost"],
    ipAddresses: ["127.0.0.1", "::1"],
  });
  const gateway = await authority.issue({ commonName: "gateway", usage: "client", uris: [GATEWAY] });
  const tokenOf = (sub: string, role: string) =>
    issuer.sign({ sub, organization_id: "acme", roles: [role] }, { expiresInSeconds: TOKEN_LIFETIME_SECONDS });
  const environment = {
    NODE_ENV: "production",
    LISTEN_ADDRESS: "127.0.0.1:50051",
    MTLS_LISTEN_ADDRESS: "127.0.0.1:50052",
    TLS_CERT_FILE: resolve(dir, "server.pem"),
    TLS_KEY_FILE: resolve(dir, "server-key.pem"),
    TLS_CLIENT_CA_FILE: resolve(dir, "ca.pem"),
    JWT_ISSUER: issuer.issuer,
    JWT_AUDIENCE: issuer.audience,
    JWT_JWKS_FILE: resolve(dir, "jwks.json"),
    SERVICE_IDENTITIES: `${GATEWAY}=verify`,
  };
  const exports = Object.entries(environment).map(([name, value]) => `export ${name}=${shellWord(value)}\n`);
  return {
    "ca.pem": authority.certificatePem,
    "server.pem": server.certificatePem,
    "server-key.pem": server.privateKeyPem,
    "gateway.pem": gateway.certificatePem,
    "gateway-key.pem": gateway.privateKeyPem,
    "jwks.json": `${JSON.stringify(await issuer.jwks(), undefined, 2)}\n`,
    "alice.jwt": `${await tokenOf("alice", "developer")}\n`,
    "admin.jwt": `${await tokenOf("admin", "organization-administrator")}\n`,
    env: `# For trying only. Made by npm run local-issuer.\n${exports.join("")}`,
  };
}

async function writeFolder(dir: string, files: Readonly<Record<string, string>>): Promise<void> {
  // The mode is for its parents too: `data` is the server's, which wants it to itself.
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const strangers = (await readdir(dir)).filter((name) => !Object.hasOwn(files, name));
  // Its mode is about to change, which a folder of anything else does not deserve.
  if (strangers.length > 0) fail(`${dir} holds other files (${strangers[0]}): choose an empty --dir`);
  await chmod(dir, 0o700);
  for (const [name, text] of Object.entries(files)) {
    // A file that is there would keep its mode, and a link would be followed.
    await rm(join(dir, name), { force: true });
    await writeFile(join(dir, name), text, { mode: 0o600, flag: "wx" });
  }
}

function instructions(dir: string): string {
  const path = (name: string) => shellWord(join(dir, name));
  const call = `npx buf curl --protocol grpc --cacert ${path("ca.pem")}`;
  return `
  ***  FOR TRYING ONLY  ***
  ${dir} holds new keys, certificates and tokens, open to whoever reads that folder.
  No server with anything to protect may ever be given them.

Start the server with them (a running one has to be started again):

  . ${path("env")} && npm start

In a second terminal create a token as alice (admin.jwt is the organization's administrator; both are good for 12 hours):

  APITOKEN_TOKEN=$(cat ${path("alice.jwt")}) npx apitoken --ca-file ${path("ca.pem")} -c 'CREATE API_TOKEN my_token'

Look at it with another client:

  ${call} -H "authorization: Bearer $(cat ${path("alice.jwt")})" --reflect-header '*' \\
    -d '{"name": "my_token"}' https://127.0.0.1:50051/apitoken.v1.ApiTokenService/GetToken

Verify it as the gateway, which its certificate tells; TOKEN is the string that CREATE showed:

  ${call} --cert ${path("gateway.pem")} --key ${path("gateway-key.pem")} \\
    -d "{\\"token\\": \\"$TOKEN\\"}" https://127.0.0.1:50052/apitoken.v1.TokenVerificationService/VerifyToken
`;
}

/** The text as one word of a POSIX shell. */
function shellWord(text: string): string {
  return /^[\w./:@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function fail(message: string): never {
  process.stderr.write(`local-issuer: ${message}\n`);
  process.exit(2);
}
