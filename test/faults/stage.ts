// Where runs of one kind take place: a Redis and two services that stay for all of them, and what earlier runs left there.
import { isDeepStrictEqual } from "node:util";
import { organizationTag } from "../../src/domain/token-string.js";
import { indexKey } from "../../src/redis/layout.js";
import type { ClusterTopology } from "./cluster.js";
import type { Setup } from "./fault.js";
import type { TokenName } from "./recorder.js";
import type { RedisNode } from "./redis-node.js";
import { Services } from "./services.js";
import { type OrganizationState, readStore } from "./store-state.js";
import type { Topology } from "./topologies.js";

const ORGANIZATIONS = 2;
const NAMES = 6;

export class Stage<T extends Topology = Topology> {
  readonly topology: T;
  readonly services: Services;
  /** How each run's organizations were left. */
  readonly #left = new Map<string, unknown>();

  private constructor(topology: T, services: Services) {
    this.topology = topology;
    this.services = services;
  }

  /** Starts what the setup says. */
  static async open<T extends Topology>(setup: Setup<T>): Promise<Stage<T>> {
    const topology = await setup.start();
    try {
      return new Stage(topology, await Services.start(topology.redisUrl, setup.env));
    } catch (error) {
      await topology.stop();
      throw error;
    }
  }

  /**
   * Names of tokens for a run, of organizations that lie with different masters; the first ones are of one organization.
   * Throws when an earlier run had the same seed.
   */
  async tokenNames(seed: number): Promise<readonly [TokenName, ...TokenName[]]> {
    const organizationIds: string[] = [];
    const masters = new Set<RedisNode>();
    const wanted = this.topology.kind === "cluster" ? (await this.topology.masters()).length : ORGANIZATIONS;
    for (let number = 1; organizationIds.length < wanted; number += 1) {
      const organizationId = `faults-${seed}-${number}`;
      if (this.#left.has(organizationId)) throw new Error(`there was a run with seed ${seed} before`);
      const { victim } = await this.place(organizationId);
      if (this.topology.kind === "cluster" && masters.has(victim)) continue;
      masters.add(victim);
      organizationIds.push(organizationId);
    }
    const perOrganization = NAMES / organizationIds.length;
    const [first, ...others] = organizationIds.flatMap((organizationId) =>
      Array.from({ length: perOrganization }, (_, at) => ({ organizationId, name: `token-${at + 1}` })),
    );
    if (first === undefined) throw new Error("there are no names");
    return [first, ...others];
  }

  /** The master and the slot that have an organization. */
  async place(organizationId: string): Promise<{ victim: RedisNode; slot: number }> {
    const [first] = await this.topology.masters();
    if (first === undefined) throw new Error("there is no master");
    if (!isCluster(this.topology)) return { victim: first, slot: 0 };
    const slot = Number(await first.command("CLUSTER", "KEYSLOT", indexKey(organizationTag(organizationId))));
    return { victim: await this.topology.masterOfSlot(slot), slot };
  }

  /** What Redis has of these organizations, once all is well. */
  async read(organizationIds: readonly string[]): Promise<readonly OrganizationState[]> {
    return readStore(await this.topology.masters(), organizationIds);
  }

  /** Remembers how organizations were left. */
  remember(store: readonly OrganizationState[]): void {
    for (const organization of store) this.#left.set(organization.organizationId, lasting(organization));
  }

  /** The organizations of earlier runs that later ones have changed. */
  async changed(): Promise<string[]> {
    await this.topology.healed();
    const store = await this.read([...this.#left.keys()]);
    return store
      .filter((organization) => !isDeepStrictEqual(lasting(organization), this.#left.get(organization.organizationId)))
      .map(({ organizationId }) => `${organizationId} was changed after its run had ended`);
  }

  async close(): Promise<void> {
    await this.services.stop();
    await this.topology.stop();
  }
}

function isCluster(topology: Topology): topology is ClusterTopology {
  return topology.kind === "cluster";
}

/** What must not change once a run has ended. */
function lasting({ tokens, indexMembers, events }: OrganizationState) {
  const sorted = [...tokens].sort((a, b) => (a.uid < b.uid ? -1 : 1));
  return { tokens: sorted, indexMembers, events };
}
