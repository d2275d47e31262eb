// A file system of a few megabytes that can be full: a tmpfs. To mount one takes root; elsewhere the faults that need it
// are skipped, and say so.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { temporaryFolder } from "../harness.js";

const run = promisify(execFile);
const DISK_MEGABYTES = 24;

export interface SmallDisk {
  /** A file that is free to take all room that is left. */
  readonly fillerFile: string;
  readonly diskBytes: number;
}

/** Why there can be no small disk; undefined when there can. */
export async function smallDiskMissing(): Promise<string | undefined> {
  try {
    const disk = await mountSmallDisk();
    await disk.unmount();
    return undefined;
  } catch {
    return "a tmpfs cannot be mounted here, which takes root";
  }
}

/** Mounts one on a folder of its own; rejects where that is not allowed. */
export async function mountSmallDisk(): Promise<SmallDisk & { path: string; unmount(): Promise<void> }> {
  const folder = await temporaryFolder();
  try {
    await run("mount", ["-t", "tmpfs", "-o", `size=${DISK_MEGABYTES}m`, "tmpfs", folder.path]);
  } catch (error) {
    await folder.remove();
    throw error;
  }
  return {
    path: folder.path,
    fillerFile: join(folder.path, "filler"),
    diskBytes: DISK_MEGABYTES * 2 ** 20,
    unmount: async () => {
      await run("umount", [folder.path]);
      await folder.remove();
    },
  };
}
