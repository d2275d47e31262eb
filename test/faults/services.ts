// Two service processes over one Redis, on ports that stay theirs when they are killed and started again.
import { DEFAULT_CALL_RATES } from "../../src/grpc/admission.js";
import { type ServerProcess, startServerProcess } from "../server-process.js";
import { freePort } from "./free-port.js";

/** Fast enough that nobody is refused for calling often. */
const CALL_RATES = Object.keys(DEFAULT_CALL_RATES)
  .map((rpc) => `${rpc}=1000000`)
  .join(" ");

interface Instance {
  readonly address: string;
  process: ServerProcess;
  /** Whether we ended it. */
  isEnded: boolean;
}

export class Services {
  readonly #instances: readonly Instance[];
  readonly #start: (address: string) => ServerProcess;

  private constructor(addresses: readonly string[], start: (address: string) => ServerProcess) {
    this.#start = start;
    this.#instances = addresses.map((address) => ({ address, process: start(address), isEnded: false }));
    process.on("exit", this.#kill);
  }

  /** Starts two services; resolves when both listen. `env`: settings besides those of all runs. */
  static async start(redisUrl: string, env: Readonly<Record<string, string>> = {}): Promise<Services> {
    const addresses = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
    const services = new Services(addresses, (address) =>
      startServerProcess(
        { REDIS_URL: redisUrl, LISTEN_ADDRESS: address, CALL_RATES, LOG_LEVEL: "warn", ...env },
        { inherit: false },
      ),
    );
    try {
      await Promise.all(services.#instances.map(({ process }) => process.listening()));
      return services;
    } catch (error) {
      await services.stop();
      throw error;
    }
  }

  /** How many there are. */
  get count(): number {
    return this.#instances.length;
  }

  /** What a client is given that prefers one of them and goes to the others when that one is away. */
  target(preferred: number): string {
    const addresses = this.#instances.map(({ address }) => address);
    const at = preferred % addresses.length;
    return `ipv4:${[...addresses.slice(at), ...addresses.slice(0, at)].join(",")}`;
  }

  portOf(at: number): number {
    return Number(this.#at(at).address.split(":").at(-1));
  }

  /** Sends one of them a signal that ends it; resolves with its exit code when it has. */
  end(at: number, signal: "SIGKILL" | "SIGTERM"): Promise<number | null> {
    const instance = this.#at(at);
    instance.isEnded = true;
    return instance.process.stop(signal);
  }

  /** Starts one that was ended, on its old port; resolves when it listens. */
  async startAgain(at: number): Promise<void> {
    const instance = this.#at(at);
    instance.process = this.#start(instance.address);
    instance.isEnded = false;
    await instance.process.listening();
  }

  /** Those that ended by themselves, with their last words. */
  unexpectedEnds(): string[] {
    return this.#instances.flatMap(({ address, process: { child, printed }, isEnded }) =>
      !isEnded && (child.exitCode !== null || child.signalCode !== null)
        ? [`the service at ${address} ended: ${child.exitCode ?? child.signalCode}: ${printed.stderr.slice(-500)}`]
        : [],
    );
  }

  async stop(): Promise<void> {
    process.off("exit", this.#kill);
    await Promise.all(this.#instances.map((instance) => instance.process.stop("SIGKILL")));
  }

  /** They do not end with us by themselves. */
  readonly #kill = () => {
    for (const instance of this.#instances) instance.process.child.kill("SIGKILL");
  };

  #at(at: number): Instance {
    const instance = this.#instances[at];
    if (instance === undefined) throw new Error(`there is no service ${at}`);
    return instance;
  }
}
