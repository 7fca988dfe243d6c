// Draws images with the ONNX model in the browser: DPM-Solver++(2M) of Lu et al. 2022 in x = x0 + sigma eps, with
// classifier-free guidance of Ho & Salimans 2022. The same numbers as condiff's own sampler=dpmpp.
import * as ort from "./ort.wasm.min.mjs";

const about = await (await fetch("model.json")).json();
const [channels, height, width] = about.shape;
const pixels = height * width;
ort.env.wasm.numThreads = 1; // more need headers that a static server does not send
ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;

const element = (id) => document.getElementById(id);
const session = await ort.InferenceSession.create("model.onnx");
const values = { seed: 1, steps: 12, guidance: about.guidance.scale };
let latest = 0; // request; older ones stop

/** Standard normal numbers from a seed: mulberry32 and Box-Muller. */
function normal(seed, n) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return Float32Array.from({ length: n }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}

/** The condition: contrast one-hot, and the piecewise linear features of every parameter. */
export function condition(contrast, parameters) {
  const cond = new Float32Array(about.columns.length);
  const at = about.columns.indexOf(`contrast ${contrast}`);
  if (at >= 0) cond[at] = 1;
  for (const [name, value] of Object.entries(parameters)) {
    const { low, high, log } = about.parameters[name];
    const scale = log ? Math.log : (v) => v;
    const half = (scale(high) - scale(low)) / 2;
    const v = half ? (scale(value) - scale(low)) / half - 1 : 0;
    const features = [v, 1, ...[-0.75, -0.25, 0.25, 0.75].map((c) => Math.min(Math.max(4 * (v - c), -1), 1))];
    features.forEach((feature, index) => (cond[about.columns.indexOf(`${name} ${index}`)] = feature));
  }
  return cond;
}

/** Noise levels from sigma_max to sigma_min, spaced as those of the model, then 0. */
export function levels(steps) {
  const grid = about.levels;
  const between = Array.from({ length: steps }, (_, i) => {
    const position = steps > 1 ? (i * (grid.length - 1)) / (steps - 1) : 0;
    const below = Math.min(Math.floor(position), grid.length - 2);
    return Math.exp(Math.log(grid[below]) * (below + 1 - position) + Math.log(grid[below + 1]) * (position - below));
  });
  return [...between, 0];
}

/** x0 = D(x, sigma, cond), guided inside of the model's interval. */
async function denoise(x, sigma, cond, scale) {
  const [low, high] = about.guidance.interval ?? [0, Infinity];
  const guided = scale !== 1 && low < sigma && sigma <= high && cond.length > 0;
  const batch = guided ? 2 : 1;
  const twice = new Float32Array(batch * x.length);
  const conds = new Float32Array(batch * cond.length);
  for (let i = 0; i < batch; i++) twice.set(x, i * x.length);
  conds.set(cond, 0);
  const feeds = {
    x: new ort.Tensor("float32", twice, [batch, channels, height, width]),
    sigma: new ort.Tensor("float32", new Float32Array(batch).fill(sigma), [batch]),
  };
  if (cond.length) feeds.cond = new ort.Tensor("float32", conds, [batch, cond.length]);
  const { x0 } = await session.run(feeds);
  const conditional = x0.data.slice(0, x.length);
  if (!guided) return conditional;
  const free = x0.data.slice(x.length);
  return conditional.map((value, i) => free[i] + scale * (value - free[i]));
}

/** The image of a noise and a condition; calls `show(x0, share)` after every step, and stops where that returns false. */
export async function sample(noise, cond, steps, scale, show = () => true) {
  const sigmas = levels(steps);
  let x = noise.map((value) => value * sigmas[0]);
  let before = null;
  for (let i = 0; i < steps; i++) {
    const [sigma, next] = [sigmas[i], sigmas[i + 1]];
    const x0 = await denoise(x, sigma, cond, scale);
    if (!show(x0, (i + 1) / steps)) return null;
    const h = Math.log(sigma / next);
    let half = x0;
    if (before && next > 0) half = x0.map((value, j) => value + (h / (2 * before.h)) * (value - before.x0[j]));
    before = { x0, h };
    x = next > 0 ? x.map((value, j) => (next / sigma) * value - Math.expm1(-h) * half[j]) : x0;
    await new Promise((resolve) => setTimeout(resolve)); // lets the page react
  }
  return x;
}

function paint(x) {
  const canvas = element("image");
  [canvas.width, canvas.height] = [width, height];
  const picture = new ImageData(width, height);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const i = row * width + column;
      const grey = channels === 2 ? Math.hypot(x[i], x[pixels + i]) / about.white : (x[i] + 1) / 2;
      const at = 4 * ((height - 1 - row) * width + column); // the last row is the front of the head
      picture.data.fill(255 * Math.min(Math.max(grey, 0), 1), at, at + 3);
      picture.data[at + 3] = 255;
    }
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

async function draw() {
  const request = ++latest;
  const begin = performance.now();
  const given = Object.fromEntries(Object.keys(about.parameters).filter((name) => name in values).map((name) => [name, values[name]]));
  const cond = about.columns.length ? condition(values.contrast, given) : new Float32Array();
  const show = (x0, share) => {
    if (request !== latest) return false;
    paint(x0);
    element("progress").value = share;
    element("status").textContent = "Denoising …";
    return true;
  };
  const x = await sample(normal(values.seed, channels * pixels), cond, values.steps, values.guidance, show);
  if (x) element("status").textContent = `Drawn in ${((performance.now() - begin) / 1000).toFixed(1)} s.`;
}

function slider(name, title, low, high, step, unit) {
  const label = document.createElement("label");
  const shown = Object.assign(document.createElement("span"), { textContent: "" });
  const input = Object.assign(document.createElement("input"), { type: "range", name, min: low, max: high, step, value: values[name] });
  const update = () => {
    values[name] = Number(input.value);
    shown.textContent = `${Number(values[name].toPrecision(4))}${unit}`;
  };
  input.addEventListener("input", () => (update(), draw()));
  update();
  label.append(title, shown, input);
  return label;
}

const TITLES = {
  slice: [`Slice, from ${about.slice_ends.join(" to ")}`, ""], te: ["Echo time TE", " ms"], tr: ["Repetition time TR", " ms"],
  ti: ["Inversion time TI", " ms"], flip: ["Flip angle", "°"], field: ["Field strength", " T"],
};

function build() {
  const form = element("controls");
  form.replaceChildren();
  if (about.contrasts.length) {
    const label = document.createElement("label");
    const choice = Object.assign(document.createElement("select"), { name: "contrast" });
    choice.append(...about.contrasts.map((name) => new Option(name, name, false, name === values.contrast)));
    choice.addEventListener("change", () => {
      values.contrast = choice.value;
      build();
      draw();
    });
    label.append("Contrast", choice);
    form.append(label);
  }
  for (const [name, { ranges }] of Object.entries(about.parameters)) {
    const [low, high] = ranges[values.contrast] ?? [];
    if (low === undefined) delete values[name];
    else {
      const middle = name === "slice" ? (low + high) / 2 : Math.sqrt(Math.max(low, 1e-9) * high);
      if (!(values[name] >= low && values[name] <= high)) values[name] = low < high ? middle : low;
      if (low < high) form.append(slider(name, TITLES[name][0], low, high, "any", TITLES[name][1]));
    }
  }
  form.append(slider("guidance", "Guidance", 1, 4, 0.1, ""), slider("steps", "Steps", 4, 40, 1, ""), slider("seed", "Head (seed)", 1, 500, 1, ""));
}

values.contrast = about.contrasts[0];
build();
window.condiff = { sample, condition, levels }; // for tests and the console
await draw();
