// The clients of each language: built as their README says, then run against real servers. All have to print the same.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../harness.js";
import { type Build, blockOf, build } from "./builds.js";
import { type Ended, expectLines, lastLines, need, run, versionOf } from "./programs.js";
import { refusedForOutage, startDevelopmentServer, startTlsServer } from "./servers.js";
import { expectedOutcomes, OUTAGE_FILE, ROOT, VECTOR_FILES } from "./vectors.js";

const OUTAGE_NOTICED_MS = 15_000;

interface Language {
  /** The programs that have to be there, and how they tell their version. */
  readonly tools: readonly (readonly [string, string])[];
  /** Runs the vectors of the files that follow. */
  readonly vectors: readonly string[];
}

export const LANGUAGES = {
  go: { tools: [["go", "version"]], vectors: ["bin/vectors"] },
  python: { tools: [["python3", "--version"]], vectors: [".venv/bin/python", "vectors.py"] },
  java: {
    tools: [
      ["java", "-version"],
      ["mvn", "-version"],
    ],
    vectors: ["java", "-cp", "target/apitoken-client-1.jar:target/lib/*", "example.apitoken.Vectors"],
  },
  typescript: {
    tools: [
      ["node", "--version"],
      ["npm", "--version"],
    ],
    vectors: ["node", "dist/vectors.js"],
  },
} as const satisfies Readonly<Record<string, Language>>;

export type Report = (line: string) => void;

/** Builds and runs one language's clients. Throws Skipped, or what differs. */
export async function checkLanguage(name: string, { tools, vectors }: Language, report: Report): Promise<void> {
  const versions = await Promise.all(tools.map(([tool, flag]) => versionOf([need(tool), flag])));
  report(versions.map((version, i) => `${tools[i]?.[0]}: ${version}`).join("; "));
  const startMs = performance.now();
  const built = await build(name, versions);
  const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
  report(built.wasThere ? "built before" : `installed and built in ${seconds} s`);
  const tour = clientOf(built, ["sh", "-ec", blockOf(readFileSync(join(built.folder, "README.md"), "utf8"), "run")]);
  await checkPlaintext(tour, clientOf(built, vectors), report);
  await checkTls(tour, name, report);
}

type Client = (env: Readonly<Record<string, string>>, args?: readonly string[]) => Promise<Ended>;

function clientOf({ folder, env }: Build, command: readonly string[]): Client {
  return (variables, args = []) => run([...command, ...args], { cwd: folder, env: { ...env, ...variables } });
}

async function checkPlaintext(tour: Client, vectors: Client, report: Report): Promise<void> {
  const server = await startDevelopmentServer();
  const env = { APITOKEN_SERVER: server.address, APITOKEN_CA_FILE: "", APITOKEN_TOKEN: "" };
  try {
    expectPrinted("the tour", await tour(env), expectedTour("tour.txt"));
    report("the tour prints what it should");

    // The first change of the tour finds a store that takes none, until the server has refused it once.
    const disturbed = await server.duringOutage(async () => {
      const ended = tour(env);
      await eventually(() => {
        if (!server.log().some(({ status }) => status === "UNAVAILABLE")) throw new Error("no call was refused");
      }, OUTAGE_NOTICED_MS);
      return { ended };
    });
    expectPrinted("the tour with an outage", await disturbed.ended, expectedTour("tour.txt"));
    report("the tour prints the same when its first change has to be retried");

    expectPrinted("the vectors", await vectors(env, VECTOR_FILES), expectedOutcomes(VECTOR_FILES));
    report("every vector has its outcome");

    const from = server.log().length;
    const outage = await server.duringOutage(() => vectors(env, [OUTAGE_FILE]));
    // Which of both reasons the last attempt gets is a matter of time.
    const stdout = outage.stdout.replaceAll("STORE_UNAVAILABLE", "OUTCOME_UNKNOWN");
    expectPrinted("an outage", { ...outage, stdout }, expectedOutcomes([OUTAGE_FILE]));
    await eventually(() => {
      const log = server.log().slice(from);
      const attempts = ["CreateToken", "RenewToken", "RevokeToken"].map((method) => refusedForOutage(log, method));
      expectLines("attempts to create, renew and revoke", attempts.join(" "), "5 5 1");
    });
    report("the service config sends a creation and a renewal five times, a revocation once");
  } finally {
    await server.stop();
  }
}

async function checkTls(tour: Client, user: string, report: Report): Promise<void> {
  const server = await startTlsServer(user);
  const env = { APITOKEN_SERVER: server.address, APITOKEN_CA_FILE: server.caFile, APITOKEN_TOKEN: server.jwt };
  try {
    expectPrinted("the tour over TLS", await tour(env), expectedTour("tour-tls.txt"));
    const { code, stdout } = await tour({ ...env, APITOKEN_CA_FILE: server.otherCaFile });
    if (code === 0 || stdout !== "") throw new Error(`it trusts a server of another authority:\n${lastLines(stdout)}`);
    report("over TLS it calls with a JWT and with an API token, and only servers of its authority");
  } finally {
    await server.stop();
  }
}

function expectedTour(file: string): string {
  return readFileSync(join(ROOT, "clients", file), "utf8");
}

function expectPrinted(title: string, { code, stdout, stderr }: Ended, expected: string): void {
  if (code !== 0) throw new Error(`${title}: exit code ${code}\n${lastLines(stdout + stderr)}`);
  expectLines(title, stdout, expected);
}
