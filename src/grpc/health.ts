// grpc.health.v1: whether this server can answer, told to those who ask (Check, List) and those who wait (Watch).
import { type ServerWritableStream, status as Status } from "@grpc/grpc-js";
import {
  type HealthCheckRequest,
  type HealthCheckResponse,
  type HealthServer,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../gen/grpc/health/v1/health.js";

type Watcher = ServerWritableStream<HealthCheckRequest, HealthCheckResponse>;

/** Always SERVING: whether the process answers at all. To restart it because the store is away would help nobody. */
const LIVENESS = "liveness";

/** One state for the server and each of its services, for they all stand and fall with the store. */
export class Health {
  readonly handlers: HealthServer;
  readonly #services: ReadonlySet<string>;
  readonly #watchers = new Map<Watcher, ServingStatus>();
  #status: ServingStatus = ServingStatus.NOT_SERVING;

  /** `services`: full names. The empty name is the server itself. */
  constructor(services: readonly string[]) {
    this.#services = new Set(["", LIVENESS, ...services]);
    this.handlers = {
      check: ({ request }, callback) => {
        const status = this.#statusOf(request.service);
        if (status !== ServingStatus.SERVICE_UNKNOWN) callback(null, { status });
        else callback({ code: Status.NOT_FOUND, details: "unknown service" });
      },
      list: (_call, callback) => {
        const entries = [...this.#services].map((service) => [service, { status: this.#statusOf(service) }] as const);
        callback(null, { statuses: Object.fromEntries(entries) });
      },
      watch: (call) => {
        this.#watchers.set(call, this.#send(call));
        call.on("cancelled", () => this.#watchers.delete(call));
      },
    };
  }

  setServing(isServing: boolean): void {
    this.#status = isServing ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
    for (const [watcher, last] of this.#watchers) {
      if (last !== this.#statusOf(watcher.request.service)) this.#watchers.set(watcher, this.#send(watcher));
    }
  }

  #send(watcher: Watcher): ServingStatus {
    const status = this.#statusOf(watcher.request.service);
    watcher.write({ status });
    return status;
  }

  #statusOf(service: string): ServingStatus {
    if (service === LIVENESS) return ServingStatus.SERVING;
    return this.#services.has(service) ? this.#status : ServingStatus.SERVICE_UNKNOWN;
  }
}
