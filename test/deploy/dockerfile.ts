// Takes a Dockerfile apart: stages and their instructions. It knows the few instructions that ours has, and refuses others.

export interface Instruction {
  readonly name: "COPY" | "RUN" | "ENV" | "WORKDIR" | "USER" | "EXPOSE" | "ENTRYPOINT";
  /** Without its options. */
  readonly text: string;
  /** `--from=build` is `from: "build"`. */
  readonly options: Readonly<Record<string, string>>;
}

export interface Stage {
  readonly base: string;
  readonly name: string;
  readonly instructions: readonly Instruction[];
}

const NAMES = ["COPY", "RUN", "ENV", "WORKDIR", "USER", "EXPOSE", "ENTRYPOINT"] as const;

export function dockerfile(source: string): readonly Stage[] {
  const lines = source
    .split("\n")
    .filter((line) => !/^\s*#/.test(line))
    .join("\n")
    .replace(/\\\n\s*/g, "")
    .split("\n")
    .filter((line) => line.trim() !== "");
  const stages: (Stage & { readonly instructions: Instruction[] })[] = [];
  for (const line of lines) {
    const [, from, base = "", stage = ""] = /^(FROM) (\S+)(?: AS (\S+))?$/.exec(line) ?? [];
    if (from !== undefined) stages.push({ base, name: stage, instructions: [] });
    else stages.at(-1)?.instructions.push(instruction(line));
  }
  return stages;
}

function instruction(line: string): Instruction {
  const [, word = "", optionText = "", text = ""] = /^([A-Z]+) ((?:--\S+ )*)(.*)$/.exec(line) ?? [];
  const name = NAMES.find((known) => known === word);
  if (name === undefined) throw new Error(`this is no instruction that is known here: ${line}`);
  const options = optionText.trim().split(" ").filter(Boolean);
  const pairs = options.map((option) => [option.slice(2, option.indexOf("=")), option.slice(option.indexOf("=") + 1)]);
  return { name, text, options: Object.fromEntries(pairs) };
}

/** What the last stage says under that name. */
export function inImage(stages: readonly Stage[], name: Instruction["name"]): readonly string[] {
  const instructions = stages.at(-1)?.instructions ?? [];
  return instructions.filter((each) => each.name === name).map(({ text }) => text);
}

/** The environment of the image. */
export function variablesOf(stages: readonly Stage[]): Readonly<Record<string, string>> {
  const words = inImage(stages, "ENV").flatMap((text) => text.split(/\s+/));
  return Object.fromEntries(words.map((word) => [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)]));
}
