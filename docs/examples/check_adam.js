// Checks an Adam written in JavaScript against refopt's test vectors. Node alone, no packages:
//   refopt vectors write adam -o adam.json && node check_adam.js adam.json
// Also takes the other dialects of adam, and adamw. Exit status: 0 agrees, 1 differs, 2 not such a file.
"use strict";
const fs = require("node:fs");
const crypto = require("node:crypto");

function fail(status, text) {
  console.error(text);
  process.exit(status);
}

// A hexadecimal float such as -0x1.8p-3: the digits are a whole number below 2^53, so this is exact.
function fromHex(text) {
  if (text === "inf" || text === "-inf" || text === "nan") return Number(text.replace("inf", "Infinity"));
  const [, sign, lead, digits = "", exponent] = /^(-?)0x([01])(?:\.([0-9a-f]+))?p([+-]\d+)$/.exec(text);
  const whole = Number(`0x${lead}${digits}`);
  let power = Number(exponent) - 4 * digits.length;
  let value = whole;
  // 2 ** -1074 is the least power there is: subnormal numbers need two factors.
  if (power < -1000) [value, power] = [value * 2 ** -1000, power + 1000];
  return (sign ? -1 : 1) * value * 2 ** power;
}

// JSON with sorted names and no spaces: what the checksum is of.
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const parts = Object.keys(value).sort().map((k) => `${JSON.stringify(k)}:${canonical(value[k])}`);
  return `{${parts.join(",")}}`;
}

function read(path) {
  const { sha256, ...content } = JSON.parse(fs.readFileSync(path, "utf8"));
  if (content.format !== "refopt-vectors" || content.version !== 1) fail(2, "not refopt's test vectors, version 1");
  const found = crypto.createHash("sha256").update(canonical(content), "utf8").digest("hex");
  if (found !== sha256) fail(2, `the checksum of the content is ${found}, the file says ${sha256}`);
  if (!["adam", "adamw"].includes(content.method)) fail(2, `this checks Adam, the file is of ${content.method}`);
  return content;
}

// One step of Adam on a leaf; m and v are changed in place. Returns the new x.
function adam(x, g, m, v, t, h, multiplier) {
  const lr = h.lr * multiplier;
  const c1 = 1 - h.beta1 ** t;
  const c2 = 1 - h.beta2 ** t;
  const keep = { coupled: 1, decoupled: 1 - lr * h.weight_decay, independent: 1 - multiplier * h.weight_decay };
  return x.map((xi, i) => {
    const gi = g[i] + (h.decay === "coupled" ? h.weight_decay * xi : 0);
    m[i] = h.beta1 * m[i] + (1 - h.beta1) * gi;
    v[i] = h.beta2 * v[i] + (1 - h.beta2) * gi * gi;
    // Keras has eps beside the uncorrected root: the same as eps / sqrt(c2) beside the corrected one.
    const eps = h.eps_corrected ? h.eps : h.eps / Math.sqrt(c2);
    return keep[h.decay] * xi - (lr * (m[i] / c1)) / (Math.sqrt(v[i] / c2 + h.eps_root) + eps);
  });
}

const path = process.argv[2] ?? fail(2, "usage: node check_adam.js FILE");
const file = read(path);
const gradients = file.gradients.map((g) => Object.fromEntries(Object.entries(g).map(([k, u]) => [k, u.map(fromHex)])));
let status = 0;
for (const profile of file.profiles) {
  const hyper = {};
  for (const [k, u] of Object.entries(profile.hyper)) hyper[k] = /^-?0x|^-?inf$/.test(u) ? fromHex(u) : u;
  const run = profile.runs.float64;
  let worst = 0;
  for (const leaf of Object.keys(file.shapes)) {
    const want = run.trajectory.map((p) => p[leaf].map(fromHex));
    const scale = Math.max(...want.flat().map(Math.abs));
    let x = file.x0[leaf].map(fromHex);
    const m = x.map(() => 0);
    const v = x.map(() => 0);
    want.forEach((after, k) => {
      const s = profile.schedule;
      const multiplier = s === null ? 1 : fromHex(s[Math.min(k, s.length - 1)]);
      x = adam(x, gradients[k][leaf], m, v, k + 1, hyper, multiplier);
      // Relative to the leaf's largest entry, as the file's bound is.
      after.forEach((w, i) => { worst = Math.max(worst, Math.abs(x[i] - w) / scale); });
    });
  }
  const agrees = worst <= fromHex(run.rounding);
  if (!agrees) status = 1;
  console.log(`${profile.name}: ${agrees ? "agrees" : "DIFFERS"}, by ${worst.toExponential(1)} at most;` +
    ` rounding explains ${fromHex(run.rounding).toExponential(1)}`);
}
process.exit(status);
