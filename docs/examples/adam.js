// Adam in JavaScript behind refopt's protocol (docs/protocol.md), in Node without packages:
//   python -c 'import refopt; print(refopt.verify.compare(["node", "adam.js"], "adam"))'
"use strict";
const readline = require("node:readline");

const defaults = { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0 };
let hyper, x, m, v;

// JSON has no NaN or infinity: they travel as strings.
const read = (u) => (typeof u === "string" ? Number(u.replace("inf", "Infinity")) : u);
const write = (u) => (Number.isFinite(u) ? u : String(u).replace("Infinity", "inf").replace("NaN", "nan"));
const each = (leaves, fn) => Object.fromEntries(Object.entries(leaves).map(([k, u]) => [k, u.map(fn)]));

function adam(x, g, m, v, t, rate) {
  const c1 = 1 - hyper.beta1 ** t;
  const c2 = 1 - hyper.beta2 ** t;
  x.forEach((_, i) => {
    m[i] = hyper.beta1 * m[i] + (1 - hyper.beta1) * g[i];
    v[i] = hyper.beta2 * v[i] + (1 - hyper.beta2) * g[i] * g[i];
    x[i] -= rate * hyper.weight_decay * x[i]; // decoupled
    x[i] -= (rate * (m[i] / c1)) / (Math.sqrt(v[i] / c2) + hyper.eps);
  });
}

const answers = {
  describe: () => ({ name: "adam.js", takes: Object.keys(defaults), known: defaults, schedule: true }),
  start(message) {
    if (message.dtype !== "float64") throw new Error("this Adam computes in float64");
    hyper = { ...defaults, ...message.hyper };
    for (const k in hyper) hyper[k] = read(hyper[k]);
    x = each(message.x, read);
    m = each(x, () => 0);
    v = each(x, () => 0);
    return {};
  },
  step(message) {
    const g = each(message.g, read);
    const rate = hyper.lr * read(message.lr_multiplier);
    for (const leaf in x) adam(x[leaf], g[leaf], m[leaf], v[leaf], message.t, rate);
    return { x: each(x, write), state: { m: each(m, write), v: each(v, write) } };
  },
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const message = JSON.parse(line);
  if (message.do === "stop") process.exit(0);
  let answer;
  try {
    answer = { ok: true, ...answers[message.do](message) };
  } catch (error) {
    answer = { ok: false, error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
