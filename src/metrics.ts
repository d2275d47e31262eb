// What is counted, by prom-client, and the address where Prometheus fetches it. No label holds a secret, name or id.
import { createServer } from "node:http";
import { AggregatorRegistry, Counter, Registry } from "prom-client";
import type { Answer } from "./domain/token-verifier.js";

export class Metrics {
  readonly #registry = new Registry();
  readonly #verifications = new Counter({
    name: "apitoken_verifications_total",
    help: "Tokens that were verified, by RPC or as the credential of a call, by answer.",
    labelNames: ["answer"],
    registers: [this.#registry],
  });
  readonly #refused = new Counter({
    name: "apitoken_refused_calls_total",
    help: "Calls that were refused for lack of room, by reason.",
    labelNames: ["reason"],
    registers: [this.#registry],
  });
  // A label looked up once costs a call nothing but an addition.
  readonly #byAnswer: Readonly<Record<Answer, Counter.Internal>> = {
    current: this.#verifications.labels("current"),
    previous: this.#verifications.labels("previous"),
    malformed: this.#verifications.labels("malformed"),
    unknown: this.#verifications.labels("unknown"),
    superseded: this.#verifications.labels("superseded"),
  };

  countVerification = (answer: Answer): void => this.#byAnswer[answer].inc();

  countRefused = (reason: "RATE_LIMITED" | "OVERLOADED"): void => this.#refused.labels(reason).inc();

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** In a worker: answers the primary, which adds up those of all. */
  answerPrimary(): void {
    AggregatorRegistry.setRegistries(this.#registry);
    new AggregatorRegistry();
  }
}

/** In a primary: gives the sums over all workers. */
export function workersMetrics(): () => Promise<string> {
  const registry = new AggregatorRegistry();
  return () => registry.clusterMetrics();
}

/** Serves a text of metrics at `/metrics`. Rejects when the address cannot be bound. */
export async function serveMetrics(
  text: () => Promise<string>,
  address: string,
): Promise<{ address: string; close(): void }> {
  const { hostname, port } = new URL(`http://${address}`);
  const server = createServer({ requestTimeout: 5000, maxHeaderSize: 8192 }, (request, response) => {
    if (request.url !== "/metrics") {
      response.writeHead(404).end();
      return;
    }
    text().then(
      (metrics) => response.setHeader("content-type", "text/plain; version=0.0.4").end(metrics),
      () => response.writeHead(500).end(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(Number(port || 80), hostname.replace(/^\[|\]$/g, ""), resolve);
  });
  const bound = server.address();
  const boundPort = typeof bound === "object" && bound !== null ? bound.port : 0;
  return {
    address: address.replace(/\d+$/, String(boundPort)),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
