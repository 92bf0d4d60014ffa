// A comb of two densities: p on the first part of every block of cells, p′ on the rest. The finer the
// blocks, the closer each of its integrals comes to the mixture's; the average falls short.
import { cells, kl, mixture, normalised, perUnit } from "./densities.mjs";

const GRID = cells(-8, 8, 4000);
const third = [1 / 3, 1 / 3, 1 / 3];
const stds = [0.6, 0.6, 0.6];
const q = normalised(mixture(GRID.x, third, [-3, 0, 3], stds));
const q1 = normalised(mixture(GRID.x, [1], [0], [0.6]));
const one = normalised(mixture(GRID.x, [0.7, 0.05, 0.25], [-3, 0, 3], stds));
const other = normalised(mixture(GRID.x, [0.25, 0.05, 0.7], [-3, 0, 3], stds));

/** [KL(p‖q₁), KL(p‖q)]. */
const values = (p) => [kl(p, q1), kl(p, q)];

/** p on the first share θ of each of `blocks` blocks, p′ on the rest, made one. */
export function comb(blocks, theta) {
  const size = GRID.x.length / blocks;
  return normalised(one.map((mass, i) => ((i % size) / size < theta ? mass : other[i])));
}

/** What an average, a comb and the θ-combination of the two have. */
export function measured(blocks, theta) {
  const [a, b] = [values(one), values(other)];
  const average = one.map((mass, i) => theta * mass + (1 - theta) * other[i]);
  return {
    wanted: a.map((value, k) => theta * value + (1 - theta) * b[k]),
    average: values(average),
    comb: values(comb(blocks, theta)),
  };
}

const BLOCKS = [2, 4, 8, 16, 20, 40, 80, 100, 200, 400]; // each divides the cells

export async function show(host) {
  const { COLORS, Panel, digits, readout, slider } = await import("./frame.mjs");
  let [place, theta] = [3, 0.5];
  const blocks = () => BLOCKS[place];
  const label = "Densities p and p′ and their comb, which is p on a part of each block and p′ on the rest";
  const turn = (set) => (value) => {
    set(value);
    draw();
  };
  const most = BLOCKS.length - 1;
  const coarse = { label: "blocks", min: 0, max: most, step: 1, value: place, show: (v) => String(BLOCKS[v]) };
  slider(host, { ...coarse, onInput: turn((v) => (place = v)) });
  const share = { label: "share θ of p", min: 0.1, max: 0.9, step: 0.1, value: theta, show: (v) => digits(v, 1) };
  slider(host, { ...share, onInput: turn((v) => (theta = v)) });
  const panel = new Panel(host, { x: [-6, 6], y: [0, 0.6], xLabel: "x", yLabel: "density", label });
  const say = readout(host);
  panel.line("p", GRID.x, perUnit(one, GRID.width), COLORS.retain, "5 4");
  panel.line("p′", GRID.x, perUnit(other, GRID.width), COLORS.forget, "5 4");

  function draw() {
    panel.line("comb", GRID.x, perUnit(comb(blocks(), theta)), COLORS.unlearned);
    const { wanted, average, comb: reached } = measured(blocks(), theta);
    say(
      `KL(p‖q₁): the θ-combination is ${digits(wanted[0])} nats, the average has ${digits(average[0])}, ` +
        `the comb of ${blocks()} blocks ${digits(reached[0])}`,
    );
  }
  draw();
}
