// TLS sessions that are resumed: a ticket stands for the certificate it was given for, and only where it was given.
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { Certificate } from "../certificates.js";
import { eventually } from "../harness.js";
import {
  clientCertificate,
  openSession,
  rawCall,
  SERVICES,
  type SecureService,
  startSecureService,
} from "../secure-service.js";

const LIST = "/apitoken.v1.ApiTokenService/ListTokens";
const VERIFY = "/apitoken.v1.TokenVerificationService/VerifyToken";
const ALICE = { "x-organization-id": "acme", "x-user-id": "alice" };

let service: SecureService;
let gateway: Certificate;
let verifier: Certificate;
beforeAll(async () => {
  service = await startSecureService();
  gateway = await clientCertificate(service.clientAuthority, { uris: [SERVICES.gateway] });
  verifier = await clientCertificate(service.clientAuthority, { uris: [SERVICES.verifier] });
});
afterAll(() => service.stop());

async function ticketOf(address: string, client?: Certificate): Promise<Buffer> {
  const { session, tickets } = openSession(address, service.serverAuthority, { client });
  await rawCall(session, VERIFY, {});
  const ticket = await eventually(() => {
    const last = tickets.at(-1);
    if (last === undefined) throw new Error("no ticket yet");
    return last;
  });
  session.destroy();
  return ticket;
}

test("a resumed session is the same service, whatever certificate is at hand then", async () => {
  const resumed = await ticketOf(service.mtlsAddress, gateway);
  for (const client of [gateway, verifier, undefined]) {
    const { session, socket } = openSession(service.mtlsAddress, service.serverAuthority, { client, resumed });
    expect(await rawCall(session, LIST, ALICE)).toMatchObject({ "grpc-status": "0" });
    expect(socket.isSessionReused()).toBe(true);
    session.destroy();
  }
});

test("a ticket of the listener for bearers opens nothing at the one for services", async () => {
  const resumed = await ticketOf(service.bearerAddress);
  const { session } = openSession(service.mtlsAddress, service.serverAuthority, { resumed });
  await expect(rawCall(session, VERIFY, {})).rejects.toThrow();
  session.destroy();
});

test("a ticket of the listener for services is no credential at the one for bearers", async () => {
  const resumed = await ticketOf(service.mtlsAddress, gateway);
  const { session } = openSession(service.bearerAddress, service.serverAuthority, { client: gateway, resumed });
  expect(await rawCall(session, VERIFY, {})).toMatchObject({ "grpc-status": "16" });
  session.destroy();
});
