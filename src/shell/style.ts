// How text stands out on a terminal that has colours. Anywhere else nothing is added to it.
// Must not know what is shown.

/** Marks a text. */
export type Paint = (text: string) => string;

export interface Style {
  readonly title: Paint;
  readonly warning: Paint;
  readonly error: Paint;
}

const asItIs: Paint = (text) => text;
export const PLAIN: Style = { title: asItIs, warning: asItIs, error: asItIs };
export const COLOURED: Style = { title: sgr(1, 22), warning: sgr(33, 39), error: sgr(31, 39) };

/** Coloured on a terminal that obeys escape sequences, unless NO_COLOR is set to anything (no-color.org). */
export function styleFor(stream: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv): Style {
  return obeysEscapes(stream, env) && !env["NO_COLOR"] ? COLOURED : PLAIN;
}

export function obeysEscapes({ isTTY }: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean {
  return isTTY === true && env["TERM"] !== "dumb";
}

/** ECMA-48's "select graphic rendition". */
function sgr(on: number, off: number): Paint {
  return (text) => `\u001b[${on}m${text}\u001b[${off}m`;
}
