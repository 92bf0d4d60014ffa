// Densities on a grid of cells, as the package has them: masses that add up to 1, divergences in nats.

/** Centres and width of `n` cells between two ends. */
export function cells(low, high, n) {
  const width = (high - low) / n;
  return { x: Float64Array.from({ length: n }, (_, i) => low + (i + 0.5) * width), width };
}

/** Density of a mixture of Gaussians of standard deviations `stds`, at the points x. */
export function mixture(x, weights, means, stds) {
  return x.map((at) => {
    let sum = 0;
    for (let k = 0; k < means.length; k += 1) {
      const z = (at - means[k]) / stds[k];
      sum += (weights[k] * Math.exp((-z * z) / 2)) / (stds[k] * Math.sqrt(2 * Math.PI));
    }
    return sum;
  });
}

/** Values that add up to 1. */
export function normalised(values) {
  const total = values.reduce((sum, value) => sum + value, 0);
  return values.map((value) => value / total);
}

/** Densities of masses on cells of one width. */
export const perUnit = (masses, width) => Array.from(masses, (mass) => mass / width);

/** Masses proportional to exp(logs). */
export function fromLogs(logs) {
  const most = logs.reduce((a, b) => Math.max(a, b), -Infinity);
  return normalised(logs.map((value) => Math.exp(value - most)));
}

/** KL(p‖q) = Σ p log p/q of masses, in nats. */
export function kl(p, q) {
  let sum = 0;
  for (let i = 0; i < p.length; i += 1) if (p[i] > 0) sum += p[i] * Math.log(p[i] / q[i]);
  return sum;
}

/** Σ p f. */
export function mean(p, f) {
  let sum = 0;
  for (let i = 0; i < p.length; i += 1) sum += p[i] * f[i];
  return sum;
}

/** The largest of f over `steps` points of an interval, refined by golden sections. */
export function maximum(f, low, high, steps = 200) {
  let best = low;
  for (let i = 0; i <= steps; i += 1) {
    const at = low + ((high - low) * i) / steps;
    if (f(at) > f(best)) best = at;
  }
  const ratio = (Math.sqrt(5) - 1) / 2;
  let a = Math.max(low, best - (high - low) / steps);
  let b = Math.min(high, best + (high - low) / steps);
  for (let i = 0; i < 60; i += 1) {
    const left = b - ratio * (b - a);
    const right = a + ratio * (b - a);
    if (f(left) < f(right)) a = left;
    else b = right;
  }
  return (a + b) / 2;
}
