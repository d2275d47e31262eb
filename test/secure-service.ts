// The built server as a deployment runs it: TLS, JWTs of an issuer on one listener, client certificates on the other.
import { type ChildProcess, spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { join, resolve } from "node:path";
import { connect as connectTls } from "node:tls";
import { credentials } from "@grpc/grpc-js";
import { ApiTokenServiceClient } from "../gen/apitoken/v1/api_token_service.js";
import { TokenVerificationServiceClient } from "../gen/apitoken/v1/token_verification_service.js";
import { type Authority, type Certificate, type CertificateOptions, createAuthority } from "./certificates.js";
import { type As, eventually, rpcs, startRedis, temporaryFolder } from "./harness.js";
import { type Claims, startIssuer } from "./issuer.js";

const ROOT = resolve(import.meta.dirname, "../..");

/** The configured services. */
export const SERVICES = {
  verifier: "spiffe://example.org/verifier",
  console: "spiffe://example.org/console",
  gateway: "spiffe://example.org/gateway",
} as const;

/** What every refused credential is answered, by RpcError. */
export const UNAUTHENTICATED = {
  code: "UNAUTHENTICATED",
  reason: "UNAUTHENTICATED",
  message: "a valid credential is required",
  sqlState: "42501",
  detailTypes: ["ErrorInfo"],
} as const;
export const PERMISSION_DENIED = {
  code: "PERMISSION_DENIED",
  reason: "INSUFFICIENT_PRIVILEGE",
  message: "the caller may not do this",
  sqlState: "42501",
  detailTypes: ["ErrorInfo"],
} as const;
export const NOT_FOUND = {
  code: "NOT_FOUND",
  reason: "TOKEN_NOT_FOUND",
  message: "the token does not exist or has expired",
  sqlState: "3D012",
  detailTypes: ["ErrorInfo", "ResourceInfo"],
} as const;

export function bearer(credential: string): As {
  return { authorization: `Bearer ${credential}` };
}

/** A line of the server's log. */
export interface LogLine {
  readonly msg: string;
  readonly method?: string;
  readonly status?: string;
  readonly reason?: string;
  readonly cause?: unknown;
  readonly caller?: string;
  readonly organization_id?: string;
  readonly user_id?: string;
}

/** Starts it over an empty Redis, with clients. `env`: more settings as environment variables. */
export async function startSecureService(env: Readonly<Record<string, string>> = {}) {
  const [redis, folder, issuer, serverAuthority, clientAuthority] = await Promise.all([
    startRedis(),
    temporaryFolder(),
    startIssuer(),
    createAuthority("server authority"),
    createAuthority("client authority"),
  ]);
  const files = {
    TLS_CERT_FILE: join(folder.path, "server.pem"),
    TLS_KEY_FILE: join(folder.path, "server-key.pem"),
    TLS_CLIENT_CA_FILE: join(folder.path, "client-ca.pem"),
  };
  const server = await serverCertificate(serverAuthority);
  await writeFile(files.TLS_CERT_FILE, server.certificatePem);
  await writeFile(files.TLS_KEY_FILE, server.privateKeyPem);
  await writeFile(files.TLS_CLIENT_CA_FILE, clientAuthority.certificatePem);

  const { verifier, console, gateway } = SERVICES;
  const running = await startProcess({
    LISTEN_ADDRESS: "127.0.0.1:0",
    MTLS_LISTEN_ADDRESS: "127.0.0.1:0",
    SERVICE_IDENTITIES: `${verifier}=verify ${console}=act-for-users ${gateway}=verify,act-for-users`,
    JWT_ISSUER: issuer.issuer,
    JWT_AUDIENCE: issuer.audience,
    JWT_JWKS_URL: issuer.jwksUrl,
    REDIS_URL: `unix://${redis.socketPath}`,
    ...files,
    ...env,
  });
  const { bearerAddress, mtlsAddress } = running;
  const serverCa = Buffer.from(serverAuthority.certificatePem);
  const closers: (() => void)[] = [];

  const connect = (address: string, client?: Certificate) => {
    const tls = credentials.createSsl(
      serverCa,
      client ? Buffer.from(client.privateKeyPem) : null,
      client ? Buffer.from(client.certificatePem) : null,
    );
    // A channel of its own: a connection that somebody else has opened would hide what new ones get.
    const options = { "grpc.use_local_subchannel_pool": 1, "grpc.ssl_target_name_override": "localhost" };
    const tokens = new ApiTokenServiceClient(address, tls, options);
    const verification = new TokenVerificationServiceClient(address, tls, options);
    closers.push(() => {
      tokens.close();
      verification.close();
    });
    return { tokens: rpcs(tokens), verification: rpcs(verification) };
  };

  return {
    ...connect(bearerAddress),
    bearerAddress,
    mtlsAddress,
    redis,
    issuer,
    files,
    serverAuthority,
    clientAuthority,
    connect,
    /** Who holds an access token of these claims; alice of acme, a developer, by default. */
    signIn: async (claims: Claims = {}) => bearer(await issuer.sign(claims)),
    /** Clients of the mTLS listener with a certificate of the client authority. */
    connectAs: async (names: Partial<CertificateOptions>) =>
      connect(mtlsAddress, await clientCertificate(clientAuthority, names)),
    /** A bare HTTP/2 connection to the bearer listener. */
    openSession: (): ClientHttp2Session => {
      const { session } = openSession(bearerAddress, serverAuthority);
      closers.push(() => session.destroy());
      return session;
    },
    log: running.log,
    stop: async () => {
      for (const close of closers) close();
      await running.stop();
      await Promise.all([redis.stop(), issuer.stop(), folder.remove()]);
    },
  };
}

export type SecureService = Awaited<ReturnType<typeof startSecureService>>;

export function serverCertificate(authority: Authority): Promise<Certificate> {
  return authority.issue({
    commonName: "localhost",
    usage: "server",
    dnsNames: ["localhost"],
    ipAddresses: ["127.0.0.1"],
  });
}

export function clientCertificate(authority: Authority, names: Partial<CertificateOptions>): Promise<Certificate> {
  return authority.issue({ commonName: "client", usage: "client", ...names });
}

/**
 * A bare HTTP/2 connection, with a client certificate if there is one. `resumed`: a ticket of an earlier one; `tickets`
 * fills with its own.
 */
export function openSession(
  address: string,
  authority: Pick<Authority, "certificatePem">,
  { client, resumed }: { client?: Certificate | undefined; resumed?: Buffer | undefined } = {},
) {
  const [host = "", port = ""] = address.split(":");
  const socket = connectTls({
    host,
    port: Number(port),
    servername: "localhost",
    ca: authority.certificatePem,
    ALPNProtocols: ["h2"],
    ...(client && { cert: client.certificatePem, key: client.privateKeyPem }),
    ...(resumed && { session: resumed }),
  });
  const tickets: Buffer[] = [];
  socket.on("error", () => {}).on("session", (ticket: Buffer) => tickets.push(ticket));
  const session: ClientHttp2Session = connectHttp2(`https://${address}`, { createConnection: () => socket });
  session.on("error", () => {});
  return { session, socket, tickets };
}

/** One call by bare HTTP/2 with an empty message: all headers and trailers of its answer, but for the time of day. */
export function rawCall(
  session: ClientHttp2Session,
  path: string,
  headers: OutgoingHttpHeaders,
): Promise<IncomingHttpHeaders> {
  return new Promise((done, reject) => {
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    const answer: IncomingHttpHeaders = {};
    const add = (part: IncomingHttpHeaders) => {
      for (const [key, value] of Object.entries(part)) if (key !== "date") answer[key] = value;
    };
    stream.on("response", add).on("trailers", add).on("error", reject);
    stream.on("close", () => (answer["grpc-status"] === undefined ? reject(new Error("no answer")) : done(answer)));
    stream.resume();
    stream.end(Buffer.alloc(5));
  });
}

async function startProcess(env: Readonly<Record<string, string>>) {
  const child: ChildProcess = spawn(process.execPath, ["dist/src/main.js"], {
    cwd: ROOT,
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const printed = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name]?.on("data", (bytes: Buffer) => {
      printed[name] += bytes.toString();
    });
  }
  const exited = new Promise((done) => child.on("close", done));
  const stop = async () => {
    child.kill("SIGTERM");
    await exited;
  };
  try {
    const [, bearerAddress = "", mtlsAddress = ""] = await eventually(() => {
      const match = /apitokend listens on (\S+) and (127\S+) and/.exec(printed.stdout);
      if (match === null) throw new Error(`not listening yet: ${printed.stdout}${printed.stderr}`);
      return match;
    }, 15_000);
    const log = () =>
      printed.stderr
        .split("\n")
        .filter((line) => line.startsWith("{"))
        .map((line) => JSON.parse(line) as LogLine);
    return { bearerAddress, mtlsAddress, log, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
