// The health of gradients: log10 of each layer's gradient norm over the steps, as colours.

// Viridis (CC0) at 9 places; a linear mix between them is within a shade of the original.
const VIRIDIS = [
  [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129],
  [92, 200, 99], [170, 220, 50], [253, 231, 37],
];
const NOT_FINITE = [213, 30, 30];

function viridis(part) {
  const place = Math.min(1, Math.max(0, part)) * (VIRIDIS.length - 1);
  const i = Math.min(VIRIDIS.length - 2, Math.floor(place));
  return VIRIDIS[i].map((c, k) => Math.round(c + (place - i) * (VIRIDIS[i + 1][k] - c)));
}

// The smallest and largest norm of all runs: their colours can be compared.
function normRange() {
  let low = Infinity, high = -Infinity;
  for (const { norms } of data.heatmap) {
    for (const value of norms.flat()) {
      if (typeof value !== "number") continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return low <= high ? [low, high] : [0, 0];
}

class HeatMap {
  constructor(spec) {
    this.words = spec.words;
    this.run = spec.run;
    this.rows = spec.layers;
    this.spec = spec;
    [this.low, this.high] = normRange();
  }

  column(step) {
    return nearest(this.spec.steps, step);
  }

  draw(plane) {
    const wide = Math.round(plane.across), high = this.rows.length;
    const canvas = html("canvas", { width: wide, height: high });
    const pen = canvas.getContext("2d");
    const image = pen.createImageData(wide, high);
    const [first, last] = [this.spec.steps[0], this.spec.steps.at(-1)];
    const gap = this.spec.steps.length > 1 ? this.spec.steps[1] - first : 1;
    for (let x = 0; x < wide; x++) {
      const step = stepAt(this.run, plane.place(plane.left + x + 0.5), view.axis);
      if (step < first - gap || step > last + gap) continue;
      const norms = this.spec.norms[this.column(step)];
      for (let row = 0; row < high; row++) {
        const colour = this.colour(norms[row]);
        if (colour) image.data.set([...colour, 255], 4 * (row * wide + x));
      }
    }
    pen.putImageData(image, 0, 0);
    plane.marks.append(
      svg("rect", { class: "absent", ...plane.inner() }),
      svg("image", {
        ...plane.inner(), preserveAspectRatio: "none", class: "pixels", href: canvas.toDataURL(),
      }));
    for (const { row, from, to } of this.spec.problems) this.frame(plane, row, from, to);
  }

  colour(value) {
    if (value === null) return null;
    if (value === "Infinity") return NOT_FINITE;
    return viridis(this.high > this.low ? (value - this.low) / (this.high - this.low) : 0.5);
  }

  frame(plane, row, from, to) {
    const high = plane.down / this.rows.length;
    const x = plane.x(placeOf(this.run, from, view.axis));
    const width = Math.max(3, plane.x(placeOf(this.run, to, view.axis)) - x);
    const frame = { x, width, y: plane.top + row * high + 1, height: Math.max(2, high - 2) };
    // Round low rows a halo would hide what is framed.
    if (high >= 8) plane.marks.append(svg("rect", { class: "problem halo", ...frame }));
    plane.marks.append(svg("rect", { class: "problem", ...frame }));
  }

  read(plane, place) {
    const i = this.column(stepAt(this.run, place, view.axis));
    const step = this.spec.steps[i];
    // The rows with the largest and smallest norms: all would not fit.
    const norms = this.spec.norms[i].map((value, row) => ({ value, row }))
      .filter(({ value }) => value !== null);
    norms.sort((a, b) => rank(b.value) - rank(a.value));
    const picked = norms.length > 10 ? [...norms.slice(0, 5), ...norms.slice(-5)] : norms;
    const rows = picked.map(({ value, row }) => ({
      name: shortened(this.rows[row], 34), value: spellNorm(value), style: "none",
    }));
    const more = norms.length > 10 ? ", the 5 largest and the 5 smallest" : "";
    return { x: placeOf(this.run, step, view.axis), title: `step ${step.toLocaleString("en-US")}${more}`, rows };
  }

  table() {
    const columns = evenly(this.spec.steps.map((_, i) => i), 12);
    const head = ["layer", ...columns.map((i) => `step ${this.spec.steps[i].toLocaleString("en-US")}`)];
    const rows = this.rows.map((name, row) => [name, ...columns.map((i) => {
      const value = this.spec.norms[i][row];
      return value === null ? "none" : spellNorm(value);
    })]);
    return { head, rows };
  }

  // The scale from the smallest norm to the largest.
  legend() {
    const wide = 160, canvas = html("canvas", { width: wide, height: 1 });
    const pen = canvas.getContext("2d"), image = pen.createImageData(wide, 1);
    for (let x = 0; x < wide; x++) image.data.set([...viridis(x / (wide - 1)), 255], 4 * x);
    pen.putImageData(image, 0, 0);
    const scale = html("img", { class: "scale", alt: "colours from dark to light", src: canvas.toDataURL() });
    return [
      html("span", { class: "key" }, `norm ${spellNorm(this.low)}`, scale, spellNorm(this.high)),
      html("span", { class: "key" }, html("i", { class: "chip absent" }), "no gradient, or 0"),
      html("span", { class: "key" }, html("i", { class: "chip not-finite" }), "not finite"),
    ];
  }
}

const rank = (value) => (value === "Infinity" ? Infinity : value);

const spellNorm = (value) => (value === "Infinity" ? "not finite" : (10 ** value).toExponential(1));
