// A Plane: axes, cursor, zoom and keyboard of one figure. What is drawn in it is the painter's.

// What all figures share: the x axis, its zoomed range (null: all), smoothing, which runs are shown.
const view = { axis: "step", zoom: null, smoothing: 0, clip: false, hidden: new Set() };
const planes = [];

function redraw() {
  for (const plane of planes) {
    const { run } = plane.painter; // of a figure that is of one run alone
    plane.figure.hidden = run !== undefined && view.hidden.has(run);
    plane.draw();
  }
  document.getElementById("reset").disabled = view.zoom === null;
}

function setZoom(zoom) {
  view.zoom = zoom;
  redraw();
}

function wholeRange() {
  const ends = data.runs.flatMap((run, i) => {
    const steps = run.clock.steps;
    if (!steps.length || view.hidden.has(i)) return [];
    return [placeOf(i, steps[0], view.axis), placeOf(i, steps.at(-1), view.axis)];
  });
  if (!ends.length) return [0, 1];
  const low = Math.min(...ends), high = Math.max(...ends);
  return high > low ? [low, high] : [low - 0.5, high + 0.5];
}

let planeCount = 0;

class Plane {
  // A painter has: title (of the y axis), words (the text alternative), draw(plane), domain(plane):
  // [low, high], read(plane, x): {x, step, rows}; rows (names of bands) in place of domain; log.
  constructor(figure, painter) {
    this.figure = figure;
    this.painter = painter;
    this.log = painter.log ?? false;
    this.cursor = null;
    this.box = figure.querySelector(".box");
    this.tip = html("div", { class: "tip", hidden: "", "aria-hidden": "true" });
    this.name = `plane-${planeCount++}`;
    this.svg = svg("svg", {
      role: "img",
      tabindex: "0",
      "aria-label": `${painter.words} Arrow keys read values, + and - zoom, 0 shows all.`,
    });
    this.box.append(this.svg, this.tip);
    this.listen();
    planes.push(this);
    // Not for the first call, which comes at once: it would draw everything twice.
    this.width = 0;
    new ResizeObserver(() => {
      if (this.box.clientWidth !== this.width) this.draw();
    }).observe(this.box);
  }

  x(place) {
    const [low, high] = this.range;
    return this.left + ((place - low) / (high - low)) * this.across;
  }

  place(x) {
    const [low, high] = this.range;
    const part = Math.min(1, Math.max(0, (x - this.left) / this.across));
    return low + part * (high - low);
  }

  y(value) {
    const [low, high] = this.domain;
    const part = this.log
      ? Math.log(Math.max(value, low) / low) / Math.log(high / low)
      : (value - low) / (high - low);
    return this.top + (1 - part) * this.down;
  }

  draw() {
    this.width = this.box.clientWidth;
    if (!this.width) return;
    const rows = this.painter.rows;
    this.range = view.zoom ?? wholeRange();
    this.top = 10;
    this.down = rows ? Math.min(640, Math.max(60, rows.length * 18)) : 230;
    this.height = this.top + this.down + 42;
    this.left = rows ? Math.min(0.35 * this.width, 14 + 6.6 * longest(rows)) : 62;
    this.across = Math.max(40, this.width - this.left - 18);
    if (!rows) this.domain = this.painter.domain(this);
    const inside = svg("g", { "clip-path": `url(#${this.name})` });
    const clip = svg("clipPath", { id: this.name }, svg("rect", this.inner()));
    this.marks = inside;
    this.pointer = svg("g", { class: "pointer" });
    this.brush = svg("rect", { class: "brush", y: this.top, height: this.down, width: 0 });
    const frame = svg("rect", { class: "frame", ...this.inner() });
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.svg.setAttribute("height", this.height);
    this.svg.replaceChildren(
      svg("defs", {}, clip), ...this.axes(), inside, frame, this.pointer, this.brush);
    this.painter.draw(this);
    this.drawParts();
    if (this.cursor !== null) this.show(this.cursor);
  }

  inner() {
    return { x: this.left, y: this.top, width: this.across, height: this.down };
  }

  axes() {
    const bottom = this.top + this.down, middle = this.left + this.across / 2;
    const made = [];
    const title = AXES[view.axis].title;
    const ticks = (view.axis === "time" ? timeTicks : linearTicks)(
      ...this.range, Math.max(2, this.across / 90));
    for (const tick of ticks) {
      const x = this.x(tick);
      made.push(svg("line", { class: "grid", x1: x, x2: x, y1: this.top, y2: bottom }));
      const label = tickLabel(tick, view.axis);
      // One at the right end would be cut off if it stood in its middle.
      const beyond = x + 3.2 * label.length > this.width;
      const place = beyond ? { x: this.width, "text-anchor": "end" } : { x, "text-anchor": "middle" };
      made.push(svg("text", { class: "tick", y: bottom + 16, ...place }, label));
    }
    made.push(svg("text", { class: "title", x: middle, y: bottom + 34, "text-anchor": "middle" }, title));
    return [...made, ...(this.painter.rows ? this.bandLabels() : this.valueAxis())];
  }

  valueAxis() {
    const made = [];
    const most = Math.max(2, this.down / 42);
    for (const tick of (this.log ? logTicks : linearTicks)(...this.domain, most)) {
      const y = this.y(tick);
      const label = this.painter.share ? `${Math.round(100 * tick)}%` : tickLabel(tick);
      made.push(svg("line", { class: "grid", x1: this.left, x2: this.left + this.across, y1: y, y2: y }));
      made.push(svg("text", { class: "tick", x: this.left - 6, y: y + 4, "text-anchor": "end" }, label));
    }
    const middle = this.top + this.down / 2;
    made.push(svg("text", {
      class: "title", "text-anchor": "middle", transform: `translate(13 ${middle}) rotate(-90)`,
    }, this.painter.title));
    return made;
  }

  bandLabels() {
    const rows = this.painter.rows, high = this.down / rows.length;
    const every = Math.ceil(12 / high), room = Math.floor((this.left - 14) / 6.4);
    return rows.flatMap((row, i) => i % every ? [] : [svg("text", {
      class: "tick", x: this.left - 6, y: this.top + (i + 0.5) * high + 4, "text-anchor": "end",
    }, shortened(row, room), svg("title", {}, row))]);
  }

  // A dashed line where a run was resumed.
  drawParts() {
    data.runs.forEach((run, i) => {
      if (view.hidden.has(i)) return;
      if (this.painter.run !== undefined && this.painter.run !== i) return;
      for (const step of run.parts) {
        const x = this.x(placeOf(i, step, view.axis));
        const words = `${run.name}: resumed at step ${step.toLocaleString("en-US")}`;
        this.marks.append(svg("line", {
          class: `part run-${run.colour}`, x1: x, x2: x, y1: this.top, y2: this.top + this.down,
        }, svg("title", {}, words)));
      }
    });
  }

  // -- pointer and keys ---------------------------------------------------------------------------

  listen() {
    let start = null;
    const at = (event) => event.clientX - this.svg.getBoundingClientRect().left;
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.button === 0) start = at(event);
    });
    this.svg.addEventListener("pointermove", (event) => {
      this.cursor = this.place(at(event));
      this.show(this.cursor);
      if (start === null || Math.abs(at(event) - start) < 6) return;
      this.svg.setPointerCapture(event.pointerId);
      const [a, b] = this.dragged(start, at(event));
      this.brush.setAttribute("x", a);
      this.brush.setAttribute("width", b - a);
    });
    this.svg.addEventListener("pointerup", (event) => {
      if (start === null) return;
      const [a, b] = this.dragged(start, at(event));
      start = null;
      this.brush.setAttribute("width", 0);
      if (b - a >= 12) setZoom([this.place(a), this.place(b)]);
    });
    this.svg.addEventListener("pointercancel", () => {
      start = null;
      this.brush.setAttribute("width", 0);
    });
    this.svg.addEventListener("pointerleave", () => this.leave());
    this.svg.addEventListener("blur", () => this.leave());
    this.svg.addEventListener("dblclick", () => setZoom(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  dragged(start, end) {
    const within = (x) => Math.min(this.left + this.across, Math.max(this.left, x));
    return [within(Math.min(start, end)), within(Math.max(start, end))];
  }

  key(event) {
    const [low, high] = this.range, span = high - low;
    const here = this.cursor ?? (low + high) / 2;
    const to = {
      ArrowLeft: here - span / 100, ArrowRight: here + span / 100, Home: low, End: high,
    }[event.key];
    if (to !== undefined) {
      this.cursor = Math.min(high, Math.max(low, to));
      this.say(this.show(this.cursor));
    } else if (event.key === "+" || event.key === "-") {
      this.zoomBy(event.key === "+" ? 0.5 : 2, here);
    } else if (event.key === "0") {
      setZoom(null);
    } else if (event.key === "Escape") {
      this.leave();
    } else {
      return;
    }
    event.preventDefault();
  }

  zoomBy(factor, here) {
    const [low, high] = this.range, [first, last] = wholeRange();
    const from = Math.max(first, here - (here - low) * factor);
    const to = Math.min(last, here + (high - here) * factor);
    setZoom(from <= first && to >= last ? null : [from, to]);
  }

  say(found) {
    if (!found) return;
    const rows = found.rows.map((row) => `${row.name} ${row.value}`);
    document.getElementById("spoken").textContent = [found.title, ...rows].join(", ");
  }

  leave() {
    this.cursor = null;
    this.tip.hidden = true;
    this.pointer.replaceChildren();
  }

  // Put cursor and tooltip at a place; return what they say.
  show(place) {
    const found = this.painter.read(this, place);
    if (!found) {
      this.leave();
      return null;
    }
    const x = this.x(found.x);
    const dots = found.rows.filter((row) => row.y !== undefined).map((row) => svg("circle", {
      class: `dot ${row.style}`, cx: x, cy: this.y(row.y), r: 3.5,
    }));
    this.pointer.replaceChildren(
      svg("line", { x1: x, x2: x, y1: this.top, y2: this.top + this.down }), ...dots);
    this.tip.replaceChildren(
      html("strong", {}, found.title),
      html("table", {}, ...found.rows.map((row) => html("tr", {},
        html("td", {}, html("i", { class: `chip ${row.style}` })),
        html("td", {}, row.name), html("td", { class: "number" }, row.value)))));
    this.tip.hidden = false;
    const wide = this.tip.offsetWidth, right = x + 14 + wide <= this.width;
    const left = right ? x + 14 : Math.max(0, x - 14 - wide);
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${this.top + 6}px`;
    return found;
  }
}

const longest = (names) => Math.max(...names.map((name) => name.length));

function shortened(name, room) {
  if (name.length <= room) return name;
  const head = Math.max(1, Math.floor(room / 3)), tail = Math.max(1, room - head - 1);
  return `${name.slice(0, head)}…${name.slice(-tail)}`;
}
