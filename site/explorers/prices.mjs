// Two concepts, a threshold on each, and their prices: likelihood unlearning, p ∝ q·exp(−λᵀℓ), with the
// multipliers that maximise the dual.
import { cells, fromLogs, kl, mean, mixture, normalised, perUnit } from "./densities.mjs";

const GRID = cells(-8, 8, 1001);
const q = normalised(mixture(GRID.x, [0.5, 0.3, 0.2], [-2, 0.5, 3], [0.7, 0.7, 0.7]));
const ELL = [[0.5, 0.7], [2, 0.9]].map(([at, std]) => mixture(GRID.x, [1], [at], [std]));
const AT_Q = ELL.map((one) => mean(q, one));

const target = (lambda) => fromLogs(q.map((mass, i) => Math.log(mass) - lambda[0] * ELL[0][i] - lambda[1] * ELL[1][i]));

/** Means of ℓ under p and their covariance [[a, b], [b, c]]. */
function moments(p) {
  const [first, second] = ELL.map((one) => mean(p, one));
  let [a, b, c] = [0, 0, 0];
  for (let i = 0; i < p.length; i += 1) {
    const [u, v] = [ELL[0][i] - first, ELL[1][i] - second];
    a += p[i] * u * u;
    b += p[i] * u * v;
    c += p[i] * v * v;
  }
  return { means: [first, second], a, b, c };
}

/** λ ≥ 0 at the optimum for E_p[ℓ_i] ≤ shares_i·E_q[ℓ_i]: Newton steps on the constraints that bind. */
export function solved(shares) {
  const b = shares.map((share, i) => share * AT_Q[i]);
  let lambda = [0, 0];
  for (let step = 0; step < 60; step += 1) {
    const found = moments(target(lambda));
    const missed = found.means.map((value, i) => value - b[i]);
    const free = missed.map((value, i) => lambda[i] > 0 || value > 0);
    let move = [missed[0] / found.a, missed[1] / found.c];
    if (free[0] && free[1]) {
      const size = found.a * found.c - found.b * found.b;
      move = [(found.c * missed[0] - found.b * missed[1]) / size, (found.a * missed[1] - found.b * missed[0]) / size];
    }
    const next = lambda.map((value, i) => (free[i] ? Math.max(0, value + Math.max(-20, Math.min(20, move[i]))) : 0));
    const moved = Math.max(Math.abs(next[0] - lambda[0]), Math.abs(next[1] - lambda[1]));
    lambda = next;
    if (moved < 1e-12) break;
  }
  const p = target(lambda);
  return { lambda, p, deviation: kl(p, q), left: moments(p).means.map((value, i) => value / AT_Q[i]) };
}

export async function show(host) {
  const { COLORS, Panel, digits, readout, slider } = await import("./frame.mjs");
  const shares = [0.3, 0.5];
  const percent = (value) => `${Math.round(100 * value)} %`;
  for (const i of [0, 1]) {
    const onInput = (value) => {
      shares[i] = value;
      draw();
    };
    const label = `q${"₁₂"[i]}: at most`;
    slider(host, { label, min: 0.02, max: 1, step: 0.02, value: shares[i], show: percent, onInput });
  }
  const label = "Densities of q, of the two concepts and of the optimum p";
  const panel = new Panel(host, { x: [-6, 7], y: [0, 0.6], xLabel: "x", yLabel: "density", label });
  const say = readout(host);
  panel.area("retain q", GRID.x, perUnit(q, GRID.width), COLORS.retain);
  panel.line("forget q₁", GRID.x, ELL[0], COLORS.forget, "5 4");
  panel.line("forget q₂", GRID.x, ELL[1], COLORS.other, "5 4");

  function draw() {
    const { lambda, p, deviation, left } = solved(shares);
    panel.line("optimum p", GRID.x, perUnit(p, GRID.width), COLORS.unlearned);
    const prices = lambda.map((one, i) => digits((one * AT_Q[i]) / 100, 4)); // of a hundredth of E_q[q_i]
    say(
      `KL(p‖q) = ${digits(deviation)} nats, with ${left.map(percent).join(" and ")} left; one percent less of q₁ ` +
        `would cost ${prices[0]} nats more, of q₂ ${prices[1]} (λ = ${lambda.map((one) => digits(one, 2)).join(", ")})`,
    );
  }
  draw();
}
