// Tells apart the processes of this machine, also those that are not our children: by start and by command line, since
// numbers are used again. It must not know what they are looked up for.
import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { isNativeError } from "node:util/types";

/**
 * What tells a process from a later one with its number; undefined when no such process runs. Where the system does not
 * tell (no /proc is mounted), it is the same word for every process that runs.
 */
export async function processStart(pid: number): Promise<string | undefined> {
  if (process.platform !== "linux") {
    const line = await ps("-o", "lstart=", "-p", String(pid));
    return line.trim() === "" ? undefined : line.trim();
  }
  try {
    const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8");
    const fields = await statFields(String(pid));
    return fields[0] === "Z" ? undefined : `${boot.trim()}/${fields[19]}`;
  } catch {
    return isRunning(pid) ? "unknown" : undefined;
  }
}

/** Whether a process of this group runs whose command line holds one of the texts. */
export async function runsInGroup(groupId: number, texts: readonly string[]): Promise<boolean> {
  const commandLines = process.platform === "linux" ? await procCommandLines(groupId) : await psCommandLines(groupId);
  return commandLines.some((line) => texts.some((text) => line.includes(text)));
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isNativeError(error) && "code" in error && error.code === "EPERM";
  }
}

async function procCommandLines(groupId: number): Promise<string[]> {
  const pids = (await readdir("/proc").catch(() => [])).filter((name) => /^\d+$/.test(name));
  const lines = pids.map(async (pid) => {
    try {
      const [, , group] = await statFields(pid);
      if (Number(group) !== groupId) return "";
      // Empty for a zombie, which a container without an init keeps for ever.
      return (await readFile(`/proc/${pid}/cmdline`, "utf8")).replaceAll("\0", " ");
    } catch {
      return ""; // It has ended since the folder was read.
    }
  });
  return Promise.all(lines);
}

async function psCommandLines(groupId: number): Promise<string[]> {
  const lines = (await ps("-A", "-ww", "-o", "pgid=,command=")).split("\n");
  return lines.filter((line) => Number.parseInt(line, 10) === groupId);
}

/** The fields of /proc/PID/stat from the third (state) on: the second, a name, may itself hold spaces and brackets. */
async function statFields(pid: string): Promise<string[]> {
  const status = await readFile(`/proc/${pid}/stat`, "utf8");
  return status.slice(status.lastIndexOf(")") + 2).split(" ");
}

async function ps(...args: readonly string[]): Promise<string> {
  const options = { env: { PATH: "/bin:/usr/bin", LC_ALL: "C" }, maxBuffer: 2 ** 24 };
  // It ends with status 1 when nothing matches.
  const { stdout } = await promisify(execFile)("ps", [...args], options).catch(() => ({ stdout: "" }));
  return stdout;
}
