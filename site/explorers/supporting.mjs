// A line that supports the attainable set: its height at the threshold is the dual function. On three
// atoms the set has a dent, and no line reaches the optimum; with atoms split without end it has none.
import { fromLogs, kl, maximum } from "./densities.mjs";

const q = [0.3, 0.695, 0.005];
const q1 = [0.69, 0.3, 0.01];
const r = q.map((mass, i) => Math.log(mass / q1[i]));
const THRESHOLD = 2;

/** [KL(p‖q₁), KL(p‖q)] of masses p. */
const values = (p) => [kl(p, q1), kl(p, q)];

/** min over p of KL(p‖q) − λ·KL(p‖q₁): inside for λ < 1, and from λ = 1 on at a single atom. */
function least(lambda, atomic) {
  if (lambda < 1) {
    const logs = q.map((mass, i) => Math.log(mass) + (lambda * r[i]) / (1 - lambda));
    const [separation, deviation] = values(fromLogs(logs));
    return deviation - lambda * separation;
  }
  if (!atomic) return lambda === 1 ? -Math.max(...r) : -Infinity;
  return Math.min(...q.map((mass, j) => -(1 - lambda) * Math.log(mass) - lambda * r[j]));
}

/** The dual function g(λ) at the threshold. */
const dual = (lambda, atomic) => lambda * THRESHOLD + least(lambda, atomic);

/** The best λ, and the bound that it gives. */
export function best(atomic) {
  const lambda = maximum((one) => dual(one, atomic), 0, atomic ? 3 : 1);
  return { lambda, bound: dual(lambda, atomic) };
}

/** The optimal value at a separation of b: on three atoms, or on atoms split without end. */
export function primal(b, atomic) {
  if (!atomic) {
    const height = (lambda) => lambda * b + least(lambda, false); // no gap: the best line reaches it
    return height(maximum(height, 0, 1));
  }
  // On a curve of constant separation the deviation is least at a target, or at the curve's ends, which
  // lie on two atoms. (For λ > 1 the Lagrangian is concave, and what is stationary is no minimum.)
  const target = (lambda) => fromLogs(q.map((mass, i) => Math.log(mass) + (lambda * r[i]) / (1 - lambda)));
  const found = [reached(target, 0, 1 - 1e-9, b)];
  for (const [one, other] of [[0, 1], [0, 2], [1, 2]]) {
    const edge = (share) => q.map((_, i) => (i === one ? share : i === other ? 1 - share : 0));
    const nearest = q1[one] / (q1[one] + q1[other]); // to q₁: separation grows from here to both ends
    const own = q[one] / (q[one] + q[other]);
    if (values(edge(own))[0] >= b) found.push(values(edge(own))[1]);
    found.push(reached(edge, nearest, 0, b), reached(edge, nearest, 1, b));
  }
  return Math.min(...found);
}

/** The deviation where the separation along a path reaches b, or none (∞); it grows from `from` to `to`. */
function reached(path, from, to, b) {
  if (values(path(to))[0] < b) return Infinity;
  if (values(path(from))[0] >= b) return values(path(from))[1];
  let [below, above] = [from, to];
  for (let i = 0; i < 60; i += 1) {
    const middle = (below + above) / 2;
    if (values(path(middle))[0] < b) below = middle;
    else above = middle;
  }
  return values(path(above))[1];
}

export async function show(host) {
  const { COLORS, Panel, choice, digits, readout, slider } = await import("./frame.mjs");
  let atomic = true;
  let lambda = 1;
  const label = "The attainable set's lower edge, and a line of slope λ that supports it";
  choice(host, {
    legend: "where p lives",
    options: [["three", "three atoms"], ["split", "atoms split without end"]],
    value: "three",
    onChange: (key) => {
      atomic = key === "three";
      draw();
    },
  });
  const onInput = (value) => {
    lambda = value;
    draw();
  };
  slider(host, { label: "slope λ", min: 0, max: 2, step: 0.01, value: lambda, show: (v) => digits(v, 2), onInput });
  const axes = { xLabel: "separation KL(p‖q₁) (nats)", yLabel: "deviation KL(p‖q) (nats)" };
  const panel = new Panel(host, { x: [0.2, 3], y: [-0.6, 3.4], legend: "left", ...axes, label });
  const say = readout(host);
  const places = Array.from({ length: 200 }, (_, i) => 0.2 + (2.8 * i) / 199);
  const edges = { true: places.map((b) => primal(b, true)), false: places.map((b) => primal(b, false)) };

  function draw() {
    const height = least(lambda, atomic); // −∞ where no line of this slope lies below the set
    const line = lambda * THRESHOLD + height;
    const optimum = primal(THRESHOLD, atomic);
    const { bound } = best(atomic);
    panel.line("least deviation", places, edges[atomic], COLORS.retain);
    panel.line("line of slope λ", places, places.map((b) => lambda * b + height), COLORS.forget, "5 4");
    panel.points("optimum at b = 2", [THRESHOLD], [optimum], COLORS.unlearned);
    panel.points("the line at b = 2: g(λ)", Number.isFinite(line) ? [THRESHOLD] : [], [line], COLORS.other);
    const reaches = Number.isFinite(line) ? `g(λ) = ${digits(line)} nats` : "no line of this slope stays below, g(λ) = −∞";
    say(
      `${reaches}; the best line reaches ${digits(bound)}, the optimum pays ${digits(optimum)}: a gap of ` +
        digits(Math.abs(optimum - bound)),
    );
  }
  draw();
}
