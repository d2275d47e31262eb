// npm run pictures: draws token-life.svg and parts.svg beside this file, or into the folder given. Laid out by hand for a width
// of 800 pixels, on white, so that they read alike on light and dark pages; no fonts but those of the reader.
import { writeFileSync } from "node:fs";
import { join } from "node:path";

const INK = "#1f2328";
const GREY = "#59636e";
const GREEN = { fill: "#dafbe1", stroke: "#1a7f37" };
const YELLOW = { fill: "#fff8c5", stroke: "#9a6700" };
const RED = { fill: "#ffebe9", stroke: "#cf222e" };
const PLAIN = { fill: "#f6f8fa", stroke: "#818b98" };
const BLUE = { fill: "#ddf4ff", stroke: "#0969da" };

const folder = process.argv[2] ?? import.meta.dirname;
writeFileSync(join(folder, "token-life.svg"), tokenLife());
writeFileSync(join(folder, "parts.svg"), parts());

/** What becomes of one token and of each of its secrets, from left to right. */
function tokenLife() {
  const [created, renewed, graceEnd, again, end, right] = [130, 290, 425, 550, 680, 790];
  const rows = { token: 108, a: 176, b: 244, c: 312 };
  const moment = (x, lines) => [
    ...lines.map((line, at) =>
      text(line, x, 26 + 18 * at, { anchor: "middle", size: 14, weight: at === 0 ? 600 : 400 }),
    ),
    line(x, 54, x, 356, { dash: "3 4" }),
  ];
  const name = (lines, y) =>
    lines.map((each, at) => text(each, 12, y + 17 + 17 * at, { size: 14, weight: at === 0 ? 600 : 400 }));
  const bar = (from, to, y, colours, ...lines) => box(from, y, to - from, 44, colours, lines, { size: 13 });
  return picture(
    400,
    "The life of a token",
    "Created, renewed with a grace period, renewed without one, and revoked or expired: what a verification answers to each secret.",
    moment(created, ["CreateToken", "ttl 90 days"]),
    moment(renewed, ["RenewToken", "with grace period"]),
    moment(graceEnd, ["grace period", "ends"]),
    moment(again, ["RenewToken", "without one"]),
    moment(end, ["RevokeToken,", "or expire_time"]),
    name(["the token"], rows.token + 8),
    bar(
      created,
      end,
      rows.token,
      BLUE,
      "live: the same uid, name, role, owner and ttl; each renewal starts its time again",
    ),
    bar(end, right, rows.token, PLAIN, "gone: name", "free again"),
    name(["first secret", "generation 1"], rows.a),
    bar(created, renewed, rows.a, GREEN, "CURRENT"),
    bar(renewed, graceEnd, rows.a, YELLOW, "PREVIOUS", "still works"),
    bar(graceEnd, again, rows.a, RED, "SUPERSEDED"),
    bar(again, right, rows.a, PLAIN, "UNKNOWN"),
    name(["second secret", "generation 2"], rows.b),
    bar(renewed, again, rows.b, GREEN, "CURRENT"),
    bar(again, end, rows.b, RED, "SUPERSEDED", "at once"),
    bar(end, right, rows.b, PLAIN, "UNKNOWN"),
    name(["third secret", "generation 3"], rows.c),
    bar(again, end, rows.c, GREEN, "CURRENT"),
    bar(end, right, rows.c, PLAIN, "UNKNOWN"),
    legend(130, 376, [
      [GREEN, "active"],
      [YELLOW, "active, in its grace period"],
      [RED, "dead, and its use leaves an event"],
      [PLAIN, "dead"],
    ]),
  );
}

/** Who talks to what. */
function parts() {
  const server = { x: 300, y: 24, width: 230, height: 276 };
  return picture(
    400,
    "The parts",
    "Users and tokens come with a bearer credential, services with a client certificate; apitokend keeps everything in Redis.",
    box(12, 44, 190, 64, PLAIN, ["users and their tools,", "apitoken, the SQL shell"]),
    box(12, 124, 190, 44, PLAIN, ["programs with a token"]),
    box(12, 216, 190, 64, PLAIN, ["gateways and services:", "verify, or act for users"]),
    box(server.x, server.y, server.width, server.height, BLUE, []),
    text("apitokend", server.x + server.width / 2, 48, { anchor: "middle", size: 16, weight: 600 }),
    text("one process or many", server.x + server.width / 2, 67, { anchor: "middle", size: 14, colour: GREY }),
    box(314, 82, 202, 44, { ...BLUE, fill: "#ffffff" }, [":50051 for bearers"]),
    box(314, 226, 202, 44, { ...BLUE, fill: "#ffffff" }, [":50052 for services"]),
    text("limits, identity, rules,", server.x + server.width / 2, 168, { anchor: "middle" }),
    text("then the store", server.x + server.width / 2, 187, { anchor: "middle" }),
    arrow(202, 76, 312, 98),
    arrow(202, 146, 312, 114),
    text("JWT or token", 256, 69, { anchor: "middle", size: 13 }),
    text("TLS", 256, 150, { anchor: "middle", size: 13 }),
    arrow(202, 248, 312, 248),
    text("client", 256, 220, { anchor: "middle", size: 13 }),
    text("certificate", 256, 238, { anchor: "middle", size: 13 }),
    box(620, 24, 168, 276, GREEN, []),
    text("Redis", 704, 48, { anchor: "middle", size: 16, weight: 600 }),
    text("one, Sentinels,", 704, 67, { anchor: "middle", size: 14, colour: GREY }),
    text("or a Cluster", 704, 85, { anchor: "middle", size: 14, colour: GREY }),
    ["tokens, with TTL", "index of names", "answers for retries", "events"].map((each, at) =>
      box(632, 100 + 48 * at, 144, 38, { ...GREEN, fill: "#ffffff" }, [each], { size: 14 }),
    ),
    arrow(530, 168, 618, 168),
    text("scripts", 574, 158, { anchor: "middle", size: 13 }),
    text("and reads", 574, 188, { anchor: "middle", size: 13 }),
    box(12, 336, 190, 44, PLAIN, ["issuer of the JWTs"]),
    box(320, 336, 190, 44, PLAIN, ["probes, Prometheus"]),
    arrow(340, 300, 204, 346),
    text("its keys", 262, 312, { anchor: "middle", size: 13 }),
    arrow(415, 336, 415, 302),
    text("health, metrics: off unless configured", 528, 362, { size: 13, colour: GREY }),
  );
}

function picture(height, title, description, ...elements) {
  const marker = `<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 10 5 0 10z" fill="${GREY}"/></marker>`;
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="800" height="${height}" viewBox="0 0 800 ${height}" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif" role="img">`,
    `<title>${title}</title>`,
    `<desc>${description}</desc>`,
    `<defs>${marker}</defs>`,
    `<rect width="800" height="${height}" rx="8" fill="#ffffff"/>`,
    ...elements.flat(Number.POSITIVE_INFINITY),
    "</svg>",
  ];
  return `${lines.join("\n")}\n`;
}

function text(content, x, y, { size = 14, anchor = "start", weight = 400, colour = INK } = {}) {
  return `<text x="${x}" y="${y}" font-size="${size}" text-anchor="${anchor}" font-weight="${weight}" fill="${colour}">${content}</text>`;
}

/** A box with its lines in the middle. */
function box(x, y, width, height, { fill, stroke }, lines, { size = 14 } = {}) {
  const step = size + 4;
  const first = y + height / 2 + size * 0.36 - ((lines.length - 1) * step) / 2;
  return [
    `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="6" fill="${fill}" stroke="${stroke}"/>`,
    ...lines.map((each, at) => text(each, x + width / 2, Math.round(first + at * step), { size, anchor: "middle" })),
  ];
}

function line(x1, y1, x2, y2, { dash = "none", marker = "" } = {}) {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="${GREY}" stroke-width="1.5" stroke-dasharray="${dash}"${marker}/>`;
}

function arrow(x1, y1, x2, y2) {
  return line(x1, y1, x2, y2, { marker: ' marker-end="url(#head)"' });
}

function legend(x, y, entries) {
  let at = x;
  return entries.map(([{ fill, stroke }, label]) => {
    const start = at;
    at += 34 + label.length * 6.8;
    return [
      `<rect x="${start}" y="${y - 11}" width="14" height="14" rx="3" fill="${fill}" stroke="${stroke}"/>`,
      text(label, start + 20, y + 1, { size: 13, colour: GREY }),
    ];
  });
}
