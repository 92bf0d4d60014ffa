// What explorers are made of: a panel with axes, sliders, a choice, and a line that says the numbers.
// Drawing is d3's; controls are the browser's own, so that keys and screen readers work.
const { d3 } = window;
const MARGIN = { top: 12, right: 16, bottom: 44, left: 56 };
let count = 0;

/** Text with a name for assistive tools that is announced when it changes. */
export function readout(host) {
  const line = d3.select(host).append("p").attr("class", "readout").attr("role", "status");
  return (text) => line.text(text);
}

/** A slider with its label and value; `onInput` is told each new value. Returns its element. */
export function slider(host, { label, min, max, step, value, show, onInput }) {
  const id = `explorer-${(count += 1)}`;
  const row = d3.select(host).append("p").attr("class", "control");
  row.append("label").attr("for", id).text(label);
  const input = row.append("input").attr("type", "range").attr("id", id);
  input.attr("min", min).attr("max", max).attr("step", step).property("value", value);
  const told = row.append("output").attr("for", id).text(show(value));
  input.on("input", (event) => {
    const now = Number(event.target.value);
    told.text(show(now));
    input.attr("aria-valuetext", show(now));
    onInput(now);
  });
  input.attr("aria-valuetext", show(value));
  return input.node();
}

/** One of several: radio buttons. `options` are [value, text]. */
export function choice(host, { legend, options, value, onChange }) {
  const name = `explorer-${(count += 1)}`;
  const set = d3.select(host).append("fieldset").attr("class", "control");
  set.append("legend").text(legend);
  for (const [key, text] of options) {
    const label = set.append("label");
    const input = label.append("input").attr("type", "radio").attr("name", name).attr("value", key);
    input.property("checked", key === value).on("change", () => onChange(key));
    label.append("span").text(text);
  }
}

/** Axes, and lines and areas by name. All numbers are in the units of the axes. */
export class Panel {
  constructor(host, { x, y, xLabel, yLabel, label, legend = "right", height = 260, width = 640 }) {
    this.right = legend === "right";
    this.svg = d3.select(host).append("svg").attr("viewBox", `0 0 ${width} ${height}`);
    this.svg.attr("role", "img").attr("aria-label", label);
    this.size = { width, height };
    this.x = d3.scaleLinear(x, [MARGIN.left, width - MARGIN.right]);
    this.y = d3.scaleLinear(y, [height - MARGIN.bottom, MARGIN.top]);
    const bottom = this.svg.append("g").attr("transform", `translate(0,${height - MARGIN.bottom})`);
    bottom.call(d3.axisBottom(this.x).ticks(8));
    const left = this.svg.append("g").attr("transform", `translate(${MARGIN.left},0)`);
    left.call(d3.axisLeft(this.y).ticks(5));
    this.caption(xLabel, width / 2, height - 6);
    this.caption(yLabel, 14, height / 2, -90);
    this.marks = this.svg.append("g");
    this.legend = this.svg.append("g");
    this.names = [];
  }

  caption(text, x, y, turn = 0) {
    const at = `translate(${x},${y}) rotate(${turn})`;
    this.svg.append("text").attr("transform", at).attr("text-anchor", "middle").text(text);
  }

  mark(name, tag) {
    const found = this.marks.selectAll(`[data-name="${name}"]`).data([0]);
    return found.join((enter) => enter.append(tag).attr("data-name", name));
  }

  /** A line through (xs[i], ys[i]). */
  line(name, xs, ys, color, dash = null) {
    const path = d3.line((_, i) => this.x(xs[i]), (_, i) => this.y(ys[i])).defined((_, i) => Number.isFinite(ys[i]));
    this.mark(name, "path").attr("d", path(xs)).attr("fill", "none").attr("stroke", color)
      .attr("stroke-width", 2).attr("stroke-dasharray", dash);
    this.say(name, color, dash);
  }

  /** The area between a line and zero. */
  area(name, xs, ys, color) {
    const path = d3.area((_, i) => this.x(xs[i]), () => this.y(0), (_, i) => this.y(ys[i]));
    this.mark(name, "path").attr("d", path(xs)).attr("fill", color).attr("fill-opacity", 0.25);
    this.say(name, color);
  }

  /** Points (xs[i], ys[i]). */
  points(name, xs, ys, color) {
    const circles = this.marks.selectAll(`[data-points="${name}"]`).data(xs);
    circles.join("circle").attr("data-points", name).attr("r", 5).attr("fill", color)
      .attr("cx", (x) => this.x(x)).attr("cy", (_, i) => this.y(ys[i]));
    this.say(name, color);
  }

  say(name, color, dash = null) {
    if (this.names.includes(name)) return;
    const place = MARGIN.top + 8 + 18 * this.names.length;
    this.names.push(name);
    const start = this.right ? this.size.width - MARGIN.right - 22 : MARGIN.left + 12;
    this.legend.append("line").attr("x1", start).attr("x2", start + 22).attr("y1", place).attr("y2", place)
      .attr("stroke", color).attr("stroke-width", 3).attr("stroke-dasharray", dash);
    const words = this.legend.append("text").attr("y", place + 4).text(name);
    words.attr("x", this.right ? start - 6 : start + 28).attr("text-anchor", this.right ? "end" : "start");
  }
}

export const COLORS = { retain: "#0072B2", forget: "#D55E00", unlearned: "#009E73", other: "#CC79A7" };
export const digits = (number, places = 3) => number.toFixed(places);
