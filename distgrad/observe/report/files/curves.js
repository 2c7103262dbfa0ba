// Curves over steps. Where a run has more steps than are kept, a point stands for several: the line
// is their mean, the band behind it goes from the lowest to the highest, so that no spike is lost.

class Curves {
  constructor(spec) {
    this.title = spec.title;
    this.words = spec.words;
    this.log = spec.log;
    this.curves = spec.curves;
    for (const curve of this.curves) curve.hidden = false;
  }

  shown() {
    return this.curves.filter((curve) => !curve.hidden && !view.hidden.has(curve.run));
  }

  // -- what is seen -------------------------------------------------------------------------------

  // The curve's points in the visible range (and one beyond each end), one for a pixel's width.
  points(plane, curve) {
    const xs = placesOf(curve), means = smoothed(curve);
    const from = Math.max(0, lowerBound(xs, plane.range[0]) - 1);
    const to = Math.min(xs.length, lowerBound(xs, plane.range[1]) + 1);
    const points = [];
    let last = null, count = 0;
    for (let i = from; i < to; i++) {
      const low = curve.low ? curve.low[i] : curve.mean[i];
      const high = curve.high ? curve.high[i] : curve.mean[i];
      const pixel = Math.round(plane.x(xs[i]));
      if (last !== null && last.pixel === pixel) {
        count += 1;
        last.low = Math.min(last.low, low);
        last.high = Math.max(last.high, high);
        last.mean += (means[i] - last.mean) / count;
        last.plain += (curve.mean[i] - last.plain) / count;
      } else {
        last = { pixel, x: plane.x(xs[i]), low, high, mean: means[i], plain: curve.mean[i] };
        count = 1;
        points.push(last);
      }
    }
    return points;
  }

  domain(plane) {
    const values = [];
    for (const curve of this.shown()) {
      curve.points = this.points(plane, curve);
      for (const point of curve.points) values.push(point.low, point.high);
    }
    const usable = plane.log ? values.filter((value) => value > 0) : values;
    if (!usable.length) return plane.log ? [0.1, 1] : [0, 1];
    if (view.clip) usable.sort((a, b) => a - b);
    const cut = view.clip ? Math.floor(usable.length * 0.02) : 0;
    const low = view.clip ? usable[cut] : usable.reduce((a, b) => Math.min(a, b));
    const high = view.clip ? usable[usable.length - 1 - cut] : usable.reduce((a, b) => Math.max(a, b));
    if (plane.log) return high > low ? [low / 1.1, high * 1.1] : [low / 2, high * 2];
    const margin = high > low ? 0.05 * (high - low) : Math.abs(high) / 10 || 1;
    return [low >= 0 && low - margin < 0 ? 0 : low - margin, high + margin];
  }

  draw(plane) {
    for (const curve of this.shown()) {
      const points = plane.log
        ? curve.points.filter((point) => point.high > 0 && point.mean > 0)
        : curve.points;
      const style = styleOf(curve);
      if (points.some((point) => point.high > point.low)) {
        plane.marks.append(svg("path", { class: `band ${style}`, d: bandPath(plane, points) }));
      }
      if (smooths(curve)) {
        plane.marks.append(svg("path", { class: `raw ${style}`, d: linePath(plane, points, "plain") }));
      }
      plane.marks.append(svg("path", { class: `line ${style}`, d: linePath(plane, points, "mean") }));
      if (points.length === 1 || (curve.validation && points.length <= 60)) {
        for (const point of points) {
          plane.marks.append(svg("circle", {
            class: `dot ${style}`, cx: point.x, cy: plane.y(point.mean), r: 2.5,
          }));
        }
      }
      this.drawBest(plane, curve, style);
      this.drawBroken(plane, curve, style);
    }
  }

  // A ring around the result whose checkpoint is kept as the best.
  drawBest(plane, curve, style) {
    if (!curve.best) return;
    const [step, value] = curve.best, x = placeOf(curve.run, step, view.axis);
    if (x < plane.range[0] || x > plane.range[1] || (plane.log && value <= 0)) return;
    const words = `kept as the best: ${spellNumber(value)} at step ${step.toLocaleString("en-US")}`;
    plane.marks.append(svg("circle", {
      class: `best ${style}`, cx: plane.x(x), cy: plane.y(value), r: 6,
    }, svg("title", {}, words)));
  }

  // A cross at the top for each pixel with a value that is NaN or infinite.
  drawBroken(plane, curve, style) {
    const pixels = new Set(curve.broken.map((step) => Math.round(plane.x(placeOf(curve.run, step, view.axis)))));
    for (const x of pixels) {
      const y = plane.top + 6;
      plane.marks.append(svg("path", {
        class: `broken ${style}`, d: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8`,
      }, svg("title", {}, "not finite")));
    }
  }

  // -- what is read -------------------------------------------------------------------------------

  read(plane, place) {
    let x = null;
    const found = [];
    for (const curve of this.shown()) {
      const xs = placesOf(curve);
      if (!xs.length) continue;
      const i = nearest(xs, place);
      if (xs[i] < plane.range[0] || xs[i] > plane.range[1]) continue;
      found.push({ curve, i, x: xs[i] });
      if (x === null || Math.abs(xs[i] - place) < Math.abs(x - place)) x = xs[i];
    }
    if (x === null) return null;
    // A curve without a point near the cursor has nothing to say there.
    const near = (20 * (plane.range[1] - plane.range[0])) / plane.across;
    const pixel = (plane.range[1] - plane.range[0]) / plane.across;
    const rows = found.filter((row) => Math.abs(row.x - x) <= near || row.curve.validation)
      .map(({ curve, i }) => row(curve, i, pixel));
    return { x, title: AXES[view.axis].spell(x), rows };
  }

  // -- the numbers --------------------------------------------------------------------------------

  table() {
    const steps = [...new Set(this.shown().flatMap((curve) => [...evenly(curve.steps, 60), curve.steps.at(-1)]))]
      .sort((a, b) => a - b);
    const head = ["step", ...this.shown().map((curve) => nameOf(curve))];
    const rows = steps.map((step) => [step.toLocaleString("en-US"), ...this.shown().map((curve) => {
      const i = lowerBound(curve.steps, step);
      return i < curve.steps.length && curve.steps[i] === step ? valueOf(curve, i, i + 1, curve.mean[i]) : "";
    })]);
    return { head, rows };
  }
}

// What is under the cursor: a point and those within `pixel` of it, which are drawn as one.
function row(curve, i, pixel) {
  const value = smoothed(curve)[i], xs = placesOf(curve);
  const from = lowerBound(xs, xs[i] - pixel), to = lowerBound(xs, xs[i] + pixel);
  const words = valueOf(curve, from, Math.max(to, i + 1), value);
  return { name: nameOf(curve), value: words, style: styleOf(curve), y: value };
}

// A value, and from where to where the points from one index to another go.
function valueOf(curve, from, to, value) {
  const low = Math.min(...(curve.low ?? curve.mean).slice(from, to));
  const high = Math.max(...(curve.high ?? curve.mean).slice(from, to));
  if (low === high) return spellNumber(value);
  return `${spellNumber(value)} (${spellNumber(low)} to ${spellNumber(high)})`;
}

function nameOf(curve) {
  if (data.runs.length === 1) return curve.name;
  const run = data.runs[curve.run].name;
  return curve.alone ? run : `${run}: ${curve.name}`;
}

function styleOf(curve) {
  const colour = data.runs.length > 1 ? data.runs[curve.run].colour : curve.colour;
  const dashed = data.runs.length > 1 && curve.validation && !curve.alone ? " validation" : "";
  const again = data.runs.length > 1 && curve.run >= 8 ? " again" : "";
  return `run-${colour}${dashed}${again}`;
}

function evenly(values, most) {
  const every = Math.max(1, Math.ceil(values.length / most));
  return values.filter((_, i) => i % every === 0);
}

// Where a curve's points are on the x axis; kept until another axis is chosen.
function placesOf(curve) {
  if (curve.axis !== view.axis) {
    curve.axis = view.axis;
    curve.places = curve.steps.map((step) => placeOf(curve.run, step, view.axis));
  }
  return curve.places;
}

const smooths = (curve) => view.smoothing > 0 && curve.noisy;

// The mean over the last `view.smoothing` steps before each point, that one's included.
function smoothed(curve) {
  if (!smooths(curve)) return curve.mean;
  if (curve.window !== view.smoothing) {
    curve.window = view.smoothing;
    let from = 0, sum = 0;
    curve.smooth = curve.mean.map((mean, i) => {
      sum += mean;
      while (curve.steps[i] - curve.steps[from] >= view.smoothing) sum -= curve.mean[from++];
      return sum / (i - from + 1);
    });
  }
  return curve.smooth;
}

function linePath(plane, points, of) {
  return points.map((point, i) => `${i ? "L" : "M"}${point.x.toFixed(1)} ${plane.y(point[of]).toFixed(1)}`).join("");
}

function bandPath(plane, points) {
  const there = points.map((point) => `${point.x.toFixed(1)} ${plane.y(point.high).toFixed(1)}`);
  const back = points.map((point) => `${point.x.toFixed(1)} ${plane.y(point.low).toFixed(1)}`).reverse();
  return `M${there.join("L")}L${back.join("L")}Z`;
}
