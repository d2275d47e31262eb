// Makes text from users and servers safe to print: what a terminal would obey instead of showing is spelled out.
// Knows nothing of statements, tables or errors.

/** Replaces control, format and line-breaking characters and lone surrogates by visible escapes. */
export function escapeControls(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, escapeOne);
}

/** The first `limit` code points of `text`, with `...` where something was cut off. */
export function shorten(text: string, limit: number): string {
  // A code point takes at most two units, so the slice holds one more code point than is kept.
  const points = Array.from(text.slice(0, 2 * limit + 2));
  return points.length > limit ? `${points.slice(0, limit).join("")}...` : text;
}

function escapeOne(character: string): string {
  if (character === "\n") return "\\n";
  if (character === "\r") return "\\r";
  if (character === "\t") return "\\t";
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}
