import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { COLOURED } from "../../src/shell/style.js";
import { formatTime, renderTable, wrapWords } from "../../src/shell/table.js";

const LIST = ["Name", "Last Used", "Created At", "Expires At"].map(wrapping);
const CHANGE = [...["Type", "Name", "Command", "Summary"].map(wrapping), { title: "Token", wraps: false }];

describe("the tables of the documentation are drawn byte for byte", () => {
  test("the list before a renewal", () => {
    const times = ["2024-07-11T20:38:32Z", "2024-07-11T20:37:17Z", "2024-10-09T20:37:17Z"];
    expect(renderTable(LIST, [["my_token", ...times.map((time) => formatTime(at(time)))]])).toBe(
      `\
+----------+-------------------------------+-------------------------------+-------------------------------+
|  Name    |  Last Used                    |  Created At                   |  Expires At                   |
+==========+===============================+===============================+===============================+
| my_token | 2024-07-11 20:38:32 +0000 UTC | 2024-07-11 20:37:17 +0000 UTC | 2024-10-09 20:37:17 +0000 UTC |
+----------+-------------------------------+-------------------------------+-------------------------------+
`,
    );
  });

  test("the renewal", () => {
    const summary = "api_token my_token was successfully refreshed";
    const row = ["api_token", "my_token", "ALTER", summary, "<redacted_refreshed_api_token>"];
    expect(renderTable(CHANGE, [row])).toBe(
      `\
+-----------+----------+----------+------------------------------------------+--------------------------------+
|  Type     |  Name    |  Command |  Summary                                 |  Token                         |
+===========+==========+==========+==========================================+================================+
| api_token | my_token | ALTER    | api_token my_token was successfully      | <redacted_refreshed_api_token> |
|           |          |          | refreshed                                |                                |
+-----------+----------+----------+------------------------------------------+--------------------------------+
`,
    );
  });

  test("the list after a renewal", () => {
    const times = ["2024-07-11T20:38:50Z", "2024-10-09T20:38:50Z"].map((time) => formatTime(at(time)));
    expect(renderTable(LIST, [["my_token", formatTime(undefined), ...times]])).toBe(
      `\
+----------+------------+-------------------------------+-------------------------------+
|  Name    |  Last Used |  Created At                   |  Expires At                   |
+==========+============+===============================+===============================+
| my_token | <null>     | 2024-07-11 20:38:50 +0000 UTC | 2024-10-09 20:38:50 +0000 UTC |
+----------+------------+-------------------------------+-------------------------------+
`,
    );
  });
});

test("a table without rows is closed like any other", () => {
  expect(renderTable(LIST, [])).toBe(
    `\
+-------+------------+-------------+-------------+
|  Name |  Last Used |  Created At |  Expires At |
+=======+============+=============+=============+
+-------+------------+-------------+-------------+
`,
  );
});

test("rows follow each other without a rule between them", () => {
  expect(renderTable([wrapping("N")], [["a"], ["b"]])).toBe("+----+\n|  N |\n+====+\n| a  |\n| b  |\n+----+\n");
});

test("a cell of 40 characters stays on one line", () => {
  expect(wrapWords(`${"a".repeat(20)} ${"b".repeat(19)}`)).toEqual([`${"a".repeat(20)} ${"b".repeat(19)}`]);
});

test("a word that ends at the 40th character is not moved to the next line", () => {
  expect(wrapWords(`${"a".repeat(40)} b`)).toEqual(["a".repeat(40), "b"]);
});

test("a word longer than 40 characters is broken within", () => {
  expect(wrapWords(`x ${"a".repeat(85)} y`)).toEqual(["x", "a".repeat(40), "a".repeat(40), `${"a".repeat(5)} y`]);
});

test("wrapped lines are at most 40 characters long and lose nothing but the spaces they are broken at", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom("a", "b", " ", "🦊"), maxLength: 300 }), (text) => {
      const lines = wrapWords(text);
      expect(Math.max(...lines.map((line) => Array.from(line).length))).toBeLessThanOrEqual(40);
      expect(lines.join("").replaceAll(" ", "")).toBe(text.replaceAll(" ", ""));
    }),
  );
});

test("a token is never wrapped, however long it is", () => {
  const token = `apt_${"x".repeat(200)}`;
  expect(renderTable([{ title: "Token", wraps: false }], [[token]])).toContain(`| ${token} |\n`);
});

test("a cell cannot send commands to the terminal or break its line", () => {
  const table = renderTable([wrapping("Name")], [["a\u001b[2J\n\u202eb\u{d800}"]]);
  expect(table).toContain("| a\\u{1b}[2J\\n\\u{202e}b\\u{d800} |\n");
});

test("every line of a table is equally long", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.string({ unit: "binary" }), fc.string())), (rows) => {
      const lines = renderTable([wrapping("A"), { title: "B", wraps: false }], rows)
        .trimEnd()
        .split("\n");
      expect(new Set(lines.map((line) => Array.from(line).length)).size).toBe(1);
    }),
  );
});

test("times are cut to whole seconds, also before 1970", () => {
  expect(formatTime({ seconds: 1_720_730_312n, nanos: 999_999_999 })).toBe("2024-07-11 20:38:32 +0000 UTC");
  expect(formatTime({ seconds: -1n, nanos: 500_000_000 })).toBe("1969-12-31 23:59:59 +0000 UTC");
});

test("a time that no calendar holds is shown as such", () => {
  expect(formatTime({ seconds: 2n ** 62n, nanos: 0 })).toBe("<out of range>");
});

function wrapping(title: string) {
  return { title, wraps: true };
}

function at(time: string) {
  return { seconds: BigInt(Date.parse(time) / 1000), nanos: 0 };
}

test("colours surround the texts, and change neither widths nor lines", () => {
  const columns = [
    { title: "Name", wraps: true },
    { title: "Ends", wraps: true },
  ];
  const rows = [["a", { warning: `${"soon ".repeat(9)}\u001b[2J` }]];
  const plain = renderTable(columns, rows);
  const coloured = renderTable(columns, rows, COLOURED);
  expect(coloured).toContain("| \u001b[1m Name\u001b[22m | \u001b[1m Ends\u001b[22m ");
  expect(coloured).toContain("| \u001b[33msoon");
  const marks = ["1", "22", "33", "39"].map((code) => `\u001b[${code}m`);
  expect(marks.reduce((text, mark) => text.replaceAll(mark, ""), coloured)).toBe(plain);
});
