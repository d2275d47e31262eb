// What is measured, and the address where Prometheus fetches it: docs/metrics.md lists it. Label values come from closed sets:
// none holds a secret, a name or an id. What a call costs here is tens of nanoseconds; the rest is done when it is fetched.
import { createServer } from "node:http";
import { type Aggregator, AggregatorRegistry, Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import type { Answer } from "./domain/token-verifier.js";
import { DurationHistogram, type Series } from "./histogram.js";
import type { StoreCall, StoreError } from "./redis/connection.js";
import type { Census } from "./redis/token-census.js";
import { version } from "./version.js";

/** OpenTelemetry advises them from 5 ms on; most calls here take less than one. */
const CALL_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
/** No call to the store takes much longer than half a second. */
const STORE_BOUNDS = [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];
/** The statuses that OpenTelemetry counts as errors of a server; the others are the caller's. */
const SERVER_ERRORS: ReadonlySet<string> = new Set(
  "UNKNOWN DEADLINE_EXCEEDED UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS".split(" "),
);
const ANSWERS: readonly Answer[] = ["current", "previous", "malformed", "unknown", "superseded"];

/** What is read only when somebody fetches the metrics. */
export interface State {
  readonly runningCalls: number;
  readonly isServing: boolean;
  readonly census: Census | undefined;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #calls = new DurationHistogram({
    name: "rpc_server_call_duration_seconds",
    help: "How long calls took until their status was sent, by method and status.",
    bounds: CALL_BOUNDS,
    registry: this.#registry,
  });
  readonly #storeCalls = new DurationHistogram({
    name: "apitoken_store_call_duration_seconds",
    help: "How long the store took, with all tries and waiting for replicas, by kind of operation and error.",
    bounds: STORE_BOUNDS,
    registry: this.#registry,
  });
  readonly #refused = new Counter({
    name: "apitoken_refused_calls_total",
    help: "Calls that were refused for lack of room, by reason.",
    labelNames: ["reason"],
    registers: [this.#registry],
  });
  readonly #seriesOfCalls = new Map<string, Map<string, Series>>();
  readonly #seriesOfStoreCalls = new Map<StoreCall, Map<StoreError | undefined, Series>>();
  readonly #answers: Record<Answer, number> = { current: 0, previous: 0, malformed: 0, unknown: 0, superseded: 0 };
  #state: (() => State) | undefined;

  constructor() {
    const registers = [this.#registry];
    const answers = this.#answers;
    new Counter({
      name: "apitoken_verifications_total",
      help: "Tokens that were verified, by RPC or as the credential of a call, by answer.",
      labelNames: ["answer"],
      registers,
      // Its own `inc` takes ten times as long as this addition.
      collect() {
        this.reset();
        for (const answer of ANSWERS) this.inc({ answer }, answers[answer]);
      },
    });
    this.#gauge("apitoken_running_calls", "Calls whose handlers run now.", "sum", (state) => state.runningCalls);
    this.#gauge("apitoken_serving", "1 while Redis may be served from, 0 otherwise.", "min", ({ isServing }) =>
      isServing ? 1 : 0,
    );
    // All processes tell the same count, or an older one.
    this.#gauge("apitoken_tokens", "Live tokens, by the latest count.", "max", ({ census }) => census?.tokens);
    this.#gauge(
      "apitoken_tokens_counted_timestamp_seconds",
      "When the tokens were counted.",
      "max",
      ({ census }) => census && census.timeMs / 1000,
    );
    const expiring = () => Object.entries(this.#state?.().census?.expiring ?? {});
    new Gauge({
      name: "apitoken_tokens_expiring",
      help: "Those of the live tokens that expire soon, by how soon.",
      labelNames: ["within"],
      registers,
      aggregator: "max",
      collect() {
        this.reset();
        for (const [within, count] of expiring()) this.set({ within }, count);
      },
    });
    const build = { name: "apitoken_build_info", help: "1, with the version that runs.", labelNames: ["version"] };
    new Gauge({ ...build, registers, aggregator: "first" }).set({ version: version() }, 1);
  }

  /** `method`: the path of one of our methods; whatever else was asked for is one method. `status`: its name. */
  observeCall = (method: string, status: string, seconds: number): void => {
    let series = this.#seriesOfCalls.get(method)?.get(status);
    series ??= this.#callSeries(method, status);
    series.observe(seconds);
  };

  observeStoreCall = (call: StoreCall, seconds: number, error?: StoreError): void => {
    let series = this.#seriesOfStoreCalls.get(call)?.get(error);
    series ??= this.#storeCallSeries(call, error);
    series.observe(seconds);
  };

  countVerification = (answer: Answer): void => {
    this.#answers[answer] += 1;
  };

  countRefused = (reason: "RATE_LIMITED" | "OVERLOADED"): void => this.#refused.labels(reason).inc();

  /** Where the gauges are read from now on. */
  show(state: () => State): void {
    this.#state = state;
  }

  /** Measures this process besides: its memory, processor time, event loop and garbage collection. */
  measureProcess(): void {
    collectDefaultMetrics({ register: this.#registry });
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** In a worker: answers the primary, which adds up those of all. */
  answerPrimary(): void {
    AggregatorRegistry.setRegistries(this.#registry);
    new AggregatorRegistry();
  }

  /** A gauge that is read when it is fetched; while its value is not known it is not there. */
  #gauge(name: string, help: string, aggregator: Aggregator, read: (state: State) => number | undefined): void {
    const valueNow = () => this.#state && read(this.#state());
    new Gauge({
      ...{ name, help, aggregator, registers: [this.#registry] },
      collect() {
        const value = valueNow();
        if (value === undefined) this.remove();
        else this.set(value);
      },
    });
  }

  #callSeries(method: string, status: string): Series {
    const series = this.#calls.series({
      rpc_system_name: "grpc",
      rpc_method: method.startsWith("/") ? method.slice(1) : "_OTHER",
      rpc_response_status_code: status,
      ...(SERVER_ERRORS.has(status) && { error_type: status }),
    });
    keep(this.#seriesOfCalls, method, status, series);
    return series;
  }

  #storeCallSeries(operation: StoreCall, error: StoreError | undefined): Series {
    const series = this.#storeCalls.series({ operation, ...(error && { error_type: error }) });
    keep(this.#seriesOfStoreCalls, operation, error, series);
    return series;
  }
}

function keep<A, B>(all: Map<A, Map<B, Series>>, first: A, second: B, series: Series): void {
  const inner = all.get(first) ?? new Map<B, Series>();
  all.set(first, inner.set(second, series));
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
