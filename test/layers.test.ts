// Which folder may import which: main -> grpc | redis | auth -> domain; the shell stands alone on gen/.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { expect, test } from "@jest/globals";

const ROOT = resolve(import.meta.dirname, "../..");

/** What each folder of src/ may import besides its own files. Packages by name, folders of the project by path. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  domain: ["node:crypto", "node:zlib"],
  redis: ["src/domain/", "ioredis", "cluster-key-slot", "pino", "node:"],
  auth: ["src/domain/", "@grpc/grpc-js", "jose", "node:"],
  grpc: ["src/domain/", "gen/", "@grpc/grpc-js", "@bufbuild/protobuf", "pino", "node:"],
  shell: ["gen/", "@grpc/grpc-js", "node:"],
  client: ["gen/", "@grpc/grpc-js"],
  ".": ["src/domain/", "src/redis/", "src/auth/", "src/grpc/", "pino", "prom-client", "node:"],
};

const files = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" }).filter((file) =>
  file.endsWith(".ts"),
);

/** What a file imports: packages as named, files of the project as paths from its root. */
function importsOf(file: string): string[] {
  const source = readFileSync(join(ROOT, "src", file), "utf8");
  const specifiers = [...source.matchAll(/^(?:import|export)\s[^;]*?from\s+"([^"]+)"|import\("([^"]+)"\)/gm)];
  return specifiers.map(([, from, dynamic]) => {
    const specifier = from ?? dynamic ?? "";
    return specifier.startsWith(".") ? relative(ROOT, resolve(ROOT, "src", dirname(file), specifier)) : specifier;
  });
}

test("there is source to look at", () => {
  expect(files.length).toBeGreaterThan(20);
  expect(importsOf("serve.ts")).toContain("src/grpc/server.js");
});

test.each(files)("src/%s imports only what its folder may", (file) => {
  const folder = file.includes("/") ? file.slice(0, file.indexOf("/")) : ".";
  const isOwn = (specifier: string) =>
    folder === "." ? dirname(specifier) === "src" : specifier.startsWith(`src/${folder}/`);
  const isAllowed = (specifier: string) =>
    isOwn(specifier) || (ALLOWED[folder] ?? []).some((prefix) => specifier.startsWith(prefix));
  expect(importsOf(file).filter((specifier) => !isAllowed(specifier))).toEqual([]);
});

test.each(files)("src/%s says first what it is for, and stays below 300 lines", (file) => {
  const lines = readFileSync(join(ROOT, "src", file), "utf8")
    .replace(/^#!.*\n/, "")
    .split("\n");
  expect(lines[0]).toMatch(/^\/\/ \S/);
  expect(lines.length).toBeLessThan(300);
});
