// The plot: a bar for each ratio to the floor, a mark for its goal. Written by hand, for it is a few rectangles.
import { type Row, verdictOf } from "./goals.js";

const LABELS = 380;
const BARS = 420;
const ROW = 26;
const TOP = 48;
const WIDTH = LABELS + BARS + 80;
const COLOURS = { met: "#2f855a", "not met": "#c05621", "": "#718096" } as const;

/** An SVG image. */
export function plotOf(rows: readonly Row[]): string {
  const shown = rows.filter(({ unit, number }) => unit === "floor" && number !== undefined);
  const most = Math.max(1, ...shown.map(({ number = 0, goal }) => Math.max(number, goal?.least ?? 0)));
  const x = (value: number) => LABELS + (BARS * value) / most;
  const height = TOP + shown.length * ROW + 30;
  const bars = shown.map((row, at) => {
    const { what, number = 0, goal } = row;
    const y = TOP + at * ROW;
    const middle = y + ROW / 2 + 1;
    const mark =
      goal?.least === undefined
        ? ""
        : `<line x1="${fixed(x(goal.least))}" x2="${fixed(x(goal.least))}" y1="${y}" y2="${y + ROW - 4}" stroke="#1a202c" stroke-width="2"/>`;
    return `<text x="${LABELS - 8}" y="${middle}" text-anchor="end">${escaped(what)}</text>
<rect x="${LABELS}" y="${y + 3}" width="${fixed(x(number) - LABELS)}" height="${ROW - 10}" fill="${COLOURS[verdictOf(row)]}"/>
${mark}<text x="${fixed(x(Math.max(number, goal?.least ?? 0)) + 6)}" y="${middle}">${number.toFixed(2)}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12" dominant-baseline="middle" fill="#1a202c" role="img">
<title>Answers for the CPU time of one no-op gRPC call</title>
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="8" y="18" font-size="14">Answers for the CPU time of one no-op gRPC call; black marks: goals</text>
<line x1="${fixed(x(1))}" x2="${fixed(x(1))}" y1="32" y2="${height - 26}" stroke="#a0aec0" stroke-dasharray="4 3"/>
${bars.join("\n")}
<text x="${fixed(x(1))}" y="${height - 14}" text-anchor="middle">1.00</text>
</svg>
`;
}

function fixed(value: number): string {
  return value.toFixed(1);
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
