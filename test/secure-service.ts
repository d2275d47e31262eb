// The built server as a deployment runs it: TLS, JWTs of an issuer on one listener, client certificates on the other.
import { writeFile } from "node:fs/promises";
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { join } from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { credentials } from "@grpc/grpc-js";
import { type Authority, type Certificate, type CertificateOptions, createAuthority } from "./certificates.js";
import { type As, startRedis, temporaryFolder } from "./harness.js";
import { type Claims, startIssuer } from "./issuer.js";
import { clients, startServerProcess } from "./server-process.js";

const ANSWER_LIMIT_MS = 12_000;

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
  const certificate = await serverCertificate(serverAuthority);
  await writeFile(files.TLS_CERT_FILE, certificate.certificatePem);
  await writeFile(files.TLS_KEY_FILE, certificate.privateKeyPem);
  await writeFile(files.TLS_CLIENT_CA_FILE, clientAuthority.certificatePem);

  const { verifier, console, gateway } = SERVICES;
  const variables = {
    MTLS_LISTEN_ADDRESS: "127.0.0.1:0",
    SERVICE_IDENTITIES: `${verifier}=verify ${console}=act-for-users ${gateway}=verify,act-for-users`,
    JWT_ISSUER: issuer.issuer,
    JWT_AUDIENCE: issuer.audience,
    JWT_JWKS_URL: issuer.jwksUrl,
    REDIS_URL: `unix://${redis.socketPath}`,
    // A line for each call, verifications too.
    LOG_LEVEL: "debug",
    ...files,
    ...env,
  };
  const server = startServerProcess(variables, { inherit: false });
  const closers: (() => void)[] = [];
  const stop = async () => {
    for (const close of closers) close();
    await server.stop("SIGTERM");
    await Promise.all([redis.stop(), issuer.stop(), folder.remove()]);
  };
  const [bearerAddress = "", mtlsAddress = ""] = await server.addresses().catch(async (error: unknown) => {
    await stop();
    throw error;
  });

  const channelCredentials = (client?: Certificate) =>
    credentials.createSsl(
      Buffer.from(serverAuthority.certificatePem),
      client ? Buffer.from(client.privateKeyPem) : null,
      client ? Buffer.from(client.certificatePem) : null,
    );
  const connect = (address: string, client?: Certificate) => {
    const connected = clients(address, channelCredentials(client));
    closers.push(connected.close);
    return connected;
  };

  return {
    ...connect(bearerAddress),
    bearerAddress,
    mtlsAddress,
    redis,
    issuer,
    server,
    /** All its settings, to start another one beside it. */
    variables,
    files,
    certificate,
    serverAuthority,
    clientAuthority,
    channelCredentials,
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
    log: server.log,
    stop,
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

export interface TlsOptions {
  readonly client?: Certificate | undefined;
  /** A ticket of an earlier connection. */
  readonly resumed?: Buffer | undefined;
}

/** A TLS connection to a server of this authority, for HTTP/2. */
export function openSocket(
  address: string,
  { certificatePem: ca }: Pick<Authority, "certificatePem">,
  { client, resumed }: TlsOptions = {},
): TLSSocket {
  const [host = "", port = ""] = address.split(":");
  const socket = connectTls({
    host,
    port: Number(port),
    servername: "localhost",
    ca,
    ALPNProtocols: ["h2"],
    ...(client && { cert: client.certificatePem, key: client.privateKeyPem }),
    ...(resumed && { session: resumed }),
  });
  return socket.on("error", () => {});
}

/** A bare HTTP/2 connection. `tickets` fills with those to resume it. */
export function openSession(address: string, authority: Pick<Authority, "certificatePem">, options?: TlsOptions) {
  const socket = openSocket(address, authority, options);
  const tickets: Buffer[] = [];
  socket.on("session", (ticket: Buffer) => tickets.push(ticket));
  const session: ClientHttp2Session = connectHttp2(`https://${address}`, { createConnection: () => socket });
  session.on("error", () => {});
  return { session, socket, tickets };
}

/** What a call by bare HTTP/2 sends; one empty message by default. */
export interface RawRequest {
  readonly body?: Buffer;
  /** The client says that it will send more. */
  readonly leaveOpen?: boolean;
}

/** One call by bare HTTP/2: all headers and trailers of its answer, but for the time of day. Rejects without an answer. */
export function rawCall(
  session: ClientHttp2Session,
  path: string,
  headers: OutgoingHttpHeaders,
  { body = Buffer.alloc(5), leaveOpen = false }: RawRequest = {},
): Promise<IncomingHttpHeaders> {
  return new Promise((done, reject) => {
    const stream = session.request(
      { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers", ...headers },
      { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) },
    );
    const answer: IncomingHttpHeaders = {};
    const add = (part: IncomingHttpHeaders) => {
      for (const [key, value] of Object.entries(part)) if (key !== "date") answer[key] = value;
    };
    stream.on("response", add).on("trailers", add).on("error", reject);
    stream.on("end", () => stream.close());
    stream.on("close", () =>
      answer[":status"] === undefined ? reject(new Error(`no answer, error ${stream.rstCode}`)) : done(answer),
    );
    stream.resume();
    if (leaveOpen) stream.write(body);
    else stream.end(body);
  });
}
