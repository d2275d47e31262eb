// Every kind of Redis with the faults that it is put through.
import { startCluster } from "./cluster.js";
import type { Setup } from "./fault.js";
import * as networks from "./faults-of-networks.js";
import * as redis from "./faults-of-redis.js";
import * as replication from "./faults-of-replication.js";
import * as services from "./faults-of-services.js";
import { startSentinels } from "./sentinel.js";
import { mountSmallDisk, type SmallDisk, smallDiskMissing } from "./small-disk.js";
import { type Standalone, startStandalone } from "./standalone.js";

export const always: Setup = {
  title: "standalone, AOF always",
  faults: [
    redis.sigkill("always"),
    services.serviceKill,
    services.serviceTerm,
    redis.sigstop(1),
    redis.sigstop(5),
    redis.sigstop(30),
  ],
  start: () => startStandalone({ appendFsync: "always" }),
};

export const everysec: Setup = {
  title: "standalone, AOF everysec",
  faults: [
    redis.sigkill("everysec"),
    redis.scriptFlush,
    redis.clientKill,
    redis.clientPause("ALL"),
    redis.clientPause("WRITE"),
    redis.maxmemory,
    redis.policyChanged,
  ],
  start: () => startStandalone({ appendFsync: "everysec" }),
};

export const proxied: Setup<Standalone> = {
  title: "standalone behind a proxy",
  faults: [
    networks.repliesCut,
    networks.blackHole,
    networks.slowness(100),
    networks.slowness(300),
    networks.smallSegments,
    networks.resets,
    networks.refusal,
  ],
  start: () => startStandalone({ appendFsync: "everysec", proxied: true }),
};

export const smallDisk: Setup<Standalone & SmallDisk> = {
  title: "standalone on a small disk",
  faults: [redis.diskFull("everysec"), redis.diskFull("always")],
  missing: smallDiskMissing,
  async start() {
    const disk = await mountSmallDisk();
    const standalone = await startStandalone({ appendFsync: "everysec", folder: disk.path });
    const stop = async () => {
      await standalone.stop();
      await disk.unmount();
    };
    return { ...standalone, fillerFile: disk.fillerFile, diskBytes: disk.diskBytes, stop };
  },
};

export const sentinel: Setup<Awaited<ReturnType<typeof startSentinels>>> = {
  title: "sentinel",
  faults: [
    replication.masterKill(replication.SENTINEL),
    replication.partition("everybody but services", 20),
    replication.partition("everybody", 5),
    replication.masterStop(replication.SENTINEL),
    replication.replicasStop,
  ],
  start: () => startSentinels({ downAfterMs: 1000 }),
};

export const cluster: Setup<Awaited<ReturnType<typeof startCluster>>> = {
  title: "cluster",
  faults: [
    replication.masterKill(replication.CLUSTER),
    replication.masterStop(replication.CLUSTER),
    replication.replicasStop,
    replication.slotMigration,
  ],
  start: () => startCluster({ nodeTimeoutMs: 5000 }),
};

/** In the order in which they are run. */
export const SETUPS: readonly Setup[] = [always, everysec, proxied, smallDisk, sentinel, cluster];
