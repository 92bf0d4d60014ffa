// Noise melts two densities together. The squared distance of their noise predictions, summed up over
// log-SNR, is by how much their divergence has fallen: Lemma 3.
import { cells, kl, mixture, normalised } from "./densities.mjs";

const GRID = cells(-9, 9, 900);
const MEANS = [-3, 0, 3];
const WEIGHTS = { p: [0.45, 0.1, 0.45], q: [1 / 3, 1 / 3, 1 / 3] };
const STD = 0.6;
const CLEANEST = 8; // log-SNR
const NOISIEST = -8;
const STEPS = 640;

/** α and σ of x_t = αx + σε at a log-SNR of γ. */
const noise = (gamma) => [Math.sqrt(1 / (1 + Math.exp(-gamma))), Math.sqrt(1 / (1 + Math.exp(gamma)))];

/** The noised mixture's density on the grid. */
function noised(name, gamma) {
  const [alpha, sigma] = noise(gamma);
  const wide = Math.sqrt((alpha * STD) ** 2 + sigma ** 2);
  return mixture(GRID.x, WEIGHTS[name], MEANS.map((one) => alpha * one), MEANS.map(() => wide));
}

/** Its noise prediction E[ε|x_t] on the grid: σ(x − αμ)/width², weighted by each mode's share. */
function prediction(name, gamma) {
  const [alpha, sigma] = noise(gamma);
  const square = (alpha * STD) ** 2 + sigma ** 2;
  return GRID.x.map((at) => {
    let [sum, total] = [0, 0];
    for (let k = 0; k < MEANS.length; k += 1) {
      const away = at - alpha * MEANS[k];
      const share = WEIGHTS[name][k] * Math.exp((-away * away) / (2 * square));
      sum += (share * sigma * away) / square;
      total += share;
    }
    return sum / total;
  });
}

/** ½E_p‖ε̂_p − ε̂_q‖² at a log-SNR: what the integral adds there, in nats per unit of log-SNR. */
function integrand(gamma) {
  const p = noised("p", gamma);
  const [own, other] = [prediction("p", gamma), prediction("q", gamma)];
  let sum = 0;
  for (let i = 0; i < p.length; i += 1) sum += p[i] * (own[i] - other[i]) ** 2;
  return (sum * GRID.width) / 2;
}

/** KL(p‖q) of the noised densities. */
export const divergence = (gamma) => kl(normalised(noised("p", gamma)), normalised(noised("q", gamma)));

const LEVELS = Array.from({ length: STEPS + 1 }, (_, i) => CLEANEST + ((NOISIEST - CLEANEST) * i) / STEPS);
const HEIGHTS = LEVELS.map(integrand);
const STEP = (CLEANEST - NOISIEST) / STEPS;

/** The area from the cleanest level down to γ, by the trapezoidal rule. */
export function area(gamma) {
  let sum = 0;
  for (let i = 1; i <= STEPS && LEVELS[i] >= gamma - 1e-9; i += 1) sum += ((HEIGHTS[i - 1] + HEIGHTS[i]) / 2) * STEP;
  return sum;
}

export async function show(host) {
  const { COLORS, Panel, digits, readout, slider } = await import("./frame.mjs");
  const onInput = (value) => draw(-value);
  const settings = { min: -CLEANEST, max: -NOISIEST, step: 2 * STEP, value: -2 };
  slider(host, { label: "noise (−log-SNR)", ...settings, show: (v) => digits(v, 2), onInput });
  const upper = "Densities p and q, noised";
  const top = new Panel(host, { x: [-6, 6], y: [0, 0.45], xLabel: "x_t", yLabel: "density", label: upper, height: 220 });
  const lower = "Half the squared distance of the noise predictions over log-SNR, and the area so far";
  const axes = { xLabel: "noise (−log-SNR)", yLabel: "nats per unit" };
  const bottom = new Panel(host, { x: [-8, 8], y: [0, 0.08], ...axes, label: lower, height: 220 });
  const say = readout(host);
  const minus = LEVELS.map((gamma) => -gamma);
  bottom.line("½E‖ε̂_p − ε̂_q‖²", minus, HEIGHTS, COLORS.retain);

  function draw(gamma) {
    top.line("p", GRID.x, noised("p", gamma), COLORS.unlearned);
    top.line("q", GRID.x, noised("q", gamma), COLORS.retain);
    const seen = LEVELS.filter((level) => level >= gamma - 1e-9).length;
    bottom.area("area", minus.slice(0, seen), HEIGHTS.slice(0, seen), COLORS.forget);
    const left = divergence(gamma);
    say(
      `area so far ${digits(area(gamma), 4)} nats, KL left ${digits(left, 4)}; together ` +
        `${digits(area(gamma) + left, 4)}, and KL(p‖q) without noise is ${digits(divergence(CLEANEST), 4)}`,
    );
  }
  draw(2);
}
