// Draws the shell's tables and formats the values in their cells.
// Must not know what the columns mean.
import type { Timestamp } from "../../gen/google/protobuf/timestamp.js";
import { type Paint, PLAIN, type Style } from "./style.js";
import { escapeControls } from "./terminal-text.js";

const MAX_COLUMN_WIDTH = 40;

/** A column's title. An unwrapped column is as wide as its longest cell, so that a cell can be copied in one piece. */
export interface Column {
  readonly title: string;
  readonly wraps: boolean;
}

/** A cell's text; a warning stands out where the style has a way to. */
export type Cell = string | { readonly warning: string };

/** The table as lines, each ended by a newline. Each row has one cell per column. */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  style: Style = PLAIN,
): string {
  // A title is a cell with one more leading space.
  const header = columns.map(({ title }) => ({ text: ` ${title}`, paint: style.title }));
  const body = rows.map((row) =>
    row.map((cell) =>
      typeof cell === "string"
        ? { text: escapeControls(cell), paint: PLAIN.title }
        : { text: escapeControls(cell.warning), paint: style.warning },
    ),
  );
  const widths = columns.map(({ wraps }, index) => {
    const width = longest([header, ...body], index);
    return wraps ? Math.min(width, MAX_COLUMN_WIDTH) : width;
  });
  const drawRow = (row: readonly PaintedText[]) =>
    rowLines(
      columns.map(({ wraps }, index) => cellLines(row[index], wraps)),
      widths,
    );
  return [rule(widths, "-"), ...drawRow(header), rule(widths, "="), ...body.flatMap(drawRow), rule(widths, "-")]
    .map((line) => `${line}\n`)
    .join("");
}

/** `2024-07-11 20:38:32 +0000 UTC`, seconds truncated; `<null>` when unset. */
export function formatTime(time: Timestamp | undefined): string {
  if (time === undefined) return "<null>";
  const date = new Date(Number(time.seconds) * 1000);
  if (Number.isNaN(date.getTime())) return "<out of range>";
  return date.toISOString().replace(/T(.*)\.\d+Z$/, " $1 +0000 UTC");
}

/** The text in lines of at most 40 characters, broken between words, or within a word that is longer than that. */
export function wrapWords(text: string): string[] {
  const characters = Array.from(text);
  const lines: string[] = [];
  let start = 0;
  while (characters.length - start > MAX_COLUMN_WIDTH) {
    const space = characters.lastIndexOf(" ", start + MAX_COLUMN_WIDTH);
    const end = space > start ? space : start + MAX_COLUMN_WIDTH;
    lines.push(characters.slice(start, end).join(""));
    start = space > start ? end + 1 : end;
  }
  return [...lines, characters.slice(start).join("")];
}

interface PaintedText {
  readonly text: string;
  readonly paint: Paint;
}

const EMPTY: PaintedText = { text: "", paint: PLAIN.title };

function cellLines({ text, paint }: PaintedText = EMPTY, wraps: boolean): PaintedText[] {
  return (wraps ? wrapWords(text) : [text]).map((line) => ({ text: line, paint }));
}

function longest(rows: readonly (readonly PaintedText[])[], column: number): number {
  return rows.reduce((width, row) => Math.max(width, lengthOf(row[column]?.text ?? "")), 0);
}

function rowLines(cells: readonly PaintedText[][], widths: readonly number[]): string[] {
  const height = Math.max(...cells.map((lines) => lines.length));
  return Array.from({ length: height }, (_, line) => {
    const texts = widths.map((width, column) => pad(cells[column]?.[line] ?? EMPTY, width));
    return `| ${texts.join(" | ")} |`;
  });
}

function rule(widths: readonly number[], stroke: string): string {
  return `+${widths.map((width) => stroke.repeat(width + 2)).join("+")}+`;
}

function pad({ text, paint }: PaintedText, width: number): string {
  return paint(text) + " ".repeat(width - lengthOf(text));
}

function lengthOf(text: string): number {
  return Array.from(text).length;
}
