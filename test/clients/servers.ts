// The servers that the clients are tried against: one in development mode whose Redis can be made to take no changes, and
// one with TLS and JWTs.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startRedis, temporaryFolder } from "../harness.js";
import { startSecureService } from "../secure-service.js";
import { type LogLine, startServerProcess } from "../server-process.js";

const OUTAGE_LIMIT_MS = 60_000;

/** A development server over an empty Redis. */
export async function startDevelopmentServer() {
  const redis = await startRedis();
  const server = startServerProcess({ REDIS_URL: `unix://${redis.socketPath}` }, { inherit: false });
  const stop = async () => {
    await server.stop("SIGTERM");
    await redis.stop();
  };
  const address = await server.listening().catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return {
    address,
    log: server.log,
    /** Redis takes no changes until the work is done. */
    duringOutage: async <T>(work: () => Promise<T>): Promise<T> => {
      await redis.client.client("PAUSE", OUTAGE_LIMIT_MS, "WRITE");
      try {
        return await work();
      } finally {
        await redis.client.client("UNPAUSE");
      }
    },
    stop,
  };
}

/** A server with TLS, and what a client needs to call it as `user`, who may verify, too. */
export async function startTlsServer(user: string) {
  const service = await startSecureService();
  const folder = await temporaryFolder();
  const caFile = join(folder.path, "ca.pem");
  const otherCaFile = join(folder.path, "other-ca.pem");
  await writeFile(caFile, service.serverAuthority.certificatePem);
  await writeFile(otherCaFile, service.clientAuthority.certificatePem);
  return {
    address: service.bearerAddress,
    caFile,
    /** An authority that did not sign the server's certificate. */
    otherCaFile,
    jwt: await service.issuer.sign({ sub: user, scope: "apitoken.verify" }),
    stop: async () => {
      await service.stop();
      await folder.remove();
    },
  };
}

/** How often a method was called and could not reach the store. */
export function refusedForOutage(log: readonly LogLine[], method: string): number {
  const path = `/apitoken.v1.ApiTokenService/${method}`;
  return log.filter((line) => line.method === path && line.status === "UNAVAILABLE").length;
}
