// What the files of deploy/ say, for those who check it: settings, ports, probes and patience of each kind of deployment.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse, parseAllDocuments } from "yaml";
import { dockerfile, variablesOf } from "./dockerfile.js";

export const ROOT = join(import.meta.dirname, "../../..");

export type Variables = Readonly<Record<string, string>>;

export function text(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/** As YAML has it; aliases are followed, a key that comes twice is a fault. */
interface Compose {
  readonly services: {
    readonly apitokend: {
      readonly environment: Variables;
      readonly ports: readonly string[];
      readonly volumes: readonly { readonly target: string }[];
      readonly build: { readonly context: string; readonly dockerfile: string };
      readonly stop_grace_period: string;
    };
    readonly redis: { readonly command: readonly string[]; readonly stop_grace_period: string };
  };
}

interface Probe {
  readonly grpc: { readonly port: number; readonly service?: string };
}

export interface Container {
  readonly image: string;
  readonly env: readonly { readonly name: string; readonly valueFrom: unknown }[];
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe: Probe;
  readonly readinessProbe: Probe;
  readonly livenessProbe: Probe;
  readonly lifecycle: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

export interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly data?: Variables;
  readonly stringData?: Variables;
  readonly spec?: {
    readonly selector?: unknown;
    readonly ports?: readonly { readonly name: string; readonly port: number; readonly targetPort: string }[];
    readonly template?: {
      readonly metadata: { readonly labels: unknown };
      readonly spec: { readonly terminationGracePeriodSeconds: number; readonly containers: readonly Container[] };
    };
  };
}

export const IMAGE = dockerfile(text("deploy/Dockerfile"));
export const compose = parse(text("deploy/compose.yaml")) as Compose;
export const manifests = ["apitokend", "configuration"].flatMap((name) =>
  parseAllDocuments(text(`deploy/kubernetes/${name}.yaml`)).map((document) => {
    const [fault] = [...document.errors, ...document.warnings];
    if (fault !== undefined) throw fault;
    return document.toJS() as Manifest;
  }),
);

export function manifest(kind: string, name = "apitokend"): Manifest {
  const found = manifests.find((each) => each.kind === kind && each.metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found;
}

export function container(): Container {
  const [first] = manifest("Deployment").spec?.template?.spec.containers ?? [];
  if (first === undefined) throw new Error("there is no container");
  return first;
}

/** The lines of a unit with that name, in order. */
export function unitLines(name: string): string[] {
  const lines = text("deploy/apitokend.service").matchAll(new RegExp(`^${name}=(.*)$`, "gm"));
  return Array.from(lines, ([, value = ""]) => value);
}

/** `NAME=value` lines. */
export function assignments(lines: readonly string[]): Variables {
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
}

/** The environment that each kind of deployment gives the server. */
export const ENVIRONMENTS: Readonly<Record<string, Variables>> = {
  compose: { ...variablesOf(IMAGE), ...compose.services.apitokend.environment },
  systemd: { ...assignments(unitLines("Environment")), ...documentedEnvironment() },
  kubernetes: {
    ...variablesOf(IMAGE),
    ...manifest("ConfigMap").data,
    REDIS_URL: manifest("Secret").stringData?.["redis-url"] ?? "",
  },
};

/** /etc/apitokend/environment as docs/deployment.md shows it. */
function documentedEnvironment(): Variables {
  const [, block = ""] = /<!-- environment -->\n```ini\n([\s\S]*?)```/.exec(text("docs/deployment.md")) ?? [];
  return assignments(block.split("\n").filter((line) => line !== "" && !line.startsWith("#")));
}

/** `40s` or `45` */
export function seconds(duration: string | undefined): number {
  return Number(/^(\d+)s?$/.exec(duration ?? "")?.[1]);
}
