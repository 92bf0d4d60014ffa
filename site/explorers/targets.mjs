// λ turned by hand on the three closed-form targets: eqs. (2), (5) and (7), for three Gaussians of
// which the middle one is to be forgotten.
import { cells, fromLogs, kl, mean, mixture, normalised, perUnit } from "./densities.mjs";

const GRID = cells(-8, 8, 1001);
const q = normalised(mixture(GRID.x, [1 / 3, 1 / 3, 1 / 3], [-3, 0, 3], [0.6, 0.6, 0.6]));
const density = mixture(GRID.x, [1], [0], [0.6]); // q₁, in 1/unit of x
const q1 = normalised(density);

const PROBLEMS = {
  RU: { name: "reverse KL", most: 0.3, step: 0.002, start: 0.1 },
  FU: { name: "forward KL", most: 0.33, step: 0.002, start: 0.2 },
  LU: { name: "likelihood", most: 20, step: 0.1, start: 7.8 },
};

/** The target's masses: p ∝ (q/q₁^λ)^(1/(1−λ)), (q − λq₁)/(1 − λ) or q·exp(−λq₁). */
function target(kind, lambda) {
  if (kind === "RU") return fromLogs(q.map((mass, i) => (Math.log(mass) - lambda * Math.log(q1[i])) / (1 - lambda)));
  if (kind === "FU") return q.map((mass, i) => Math.max(0, mass - lambda * q1[i]) / (1 - lambda));
  return fromLogs(q.map((mass, i) => Math.log(mass) - lambda * density[i]));
}

/** Deviation from q and separation from q₁, as the problem measures them. */
export function measured(kind, lambda) {
  const p = target(kind, lambda);
  if (kind === "RU") return { deviation: kl(p, q), constraint: kl(p, q1) };
  if (kind === "FU") return { deviation: kl(q, p), constraint: kl(q1, p) };
  return { deviation: kl(p, q), constraint: mean(p, density) };
}

const NAMES = {
  RU: ["KL(p‖q)", "KL(p‖q₁)"],
  FU: ["KL(q‖p)", "KL(q₁‖p)"],
  LU: ["KL(p‖q)", "E_p[q₁]"],
};

export async function show(host) {
  const { COLORS, Panel, choice, digits, readout, slider } = await import("./frame.mjs");
  let kind = "RU";
  const strengths = Object.fromEntries(Object.entries(PROBLEMS).map(([key, one]) => [key, one.start]));
  const label = "Densities of q, of the part q₁ to be forgotten, and of the target p";
  const options = Object.entries(PROBLEMS).map(([key, one]) => [key, one.name]);
  choice(host, { legend: "problem", options, value: kind, onChange: (key) => change(key) });
  const place = document.createElement("div");
  host.append(place);
  const panel = new Panel(host, { x: [-8, 8], y: [0, 0.72], xLabel: "x", yLabel: "density", label });
  const say = readout(host);
  panel.area("retain q", GRID.x, perUnit(q, GRID.width), COLORS.retain);
  panel.line("forget q₁", GRID.x, perUnit(q1, GRID.width), COLORS.forget, "5 4");

  function draw() {
    const lambda = strengths[kind];
    const [deviation, constraint] = NAMES[kind];
    const found = measured(kind, lambda);
    panel.line("target p", GRID.x, perUnit(target(kind, lambda), GRID.width), COLORS.unlearned);
    say(`λ = ${digits(lambda)}: ${deviation} = ${digits(found.deviation)} nats, ${constraint} = ${digits(found.constraint)}`);
  }
  function change(key) {
    kind = key;
    place.replaceChildren();
    const { most, step } = PROBLEMS[kind];
    const onInput = (value) => {
      strengths[kind] = value;
      draw();
    };
    slider(place, { label: "multiplier λ", min: 0, max: most, step, value: strengths[kind], show: digits, onInput });
    draw();
  }
  change(kind);
}
