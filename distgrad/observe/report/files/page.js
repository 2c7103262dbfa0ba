// What is pressed and opened: the toolbar, legends, tables, the settings' filter.

const MANY = 4; // runs, from which on not each curve has an entry in the legends
const PAINTERS = { curves: Curves, heatmap: HeatMap, stretches: Stretches };

for (const figure of document.querySelectorAll("figure[data-kind]")) {
  const { kind, index } = figure.dataset;
  const painter = new PAINTERS[kind](data[kind][Number(index)]);
  const plane = new Plane(figure, painter);
  addTools(figure, plane, painter);
  addLegend(figure, plane, painter);
  addTable(figure, painter);
}

// -- one figure -----------------------------------------------------------------------------------

function toggle(words, pressed, change) {
  const made = button(words, { "aria-pressed": String(pressed) }, () => {
    const now = made.getAttribute("aria-pressed") !== "true";
    made.setAttribute("aria-pressed", String(now));
    change(now);
  });
  return made;
}

function addTools(figure, plane, painter) {
  const tools = figure.querySelector(".tools");
  if (painter instanceof Curves) {
    tools.append(toggle("log", plane.log, (on) => {
      plane.log = on;
      plane.draw();
    }));
    tools.lastChild.title = "Logarithmic y axis";
  }
  if (painter instanceof Stretches && painter.spec.ranks.length > 1) {
    const chosen = html("select", { "aria-label": "Whose time" },
      html("option", { value: "mean" }, "mean of the ranks"),
      ...painter.spec.names.map((name, i) => html("option", { value: i }, name)));
    chosen.addEventListener("change", () => {
      painter.rank = chosen.value;
      plane.draw();
      const open = figure.querySelector("details[open]");
      if (open) fillTable(open, painter);
    });
    tools.append(chosen);
  }
}

function addLegend(figure, plane, painter) {
  const legend = figure.querySelector(".legend");
  if (painter instanceof Curves) {
    legend.append(...(data.runs.length > MANY ? kindToggles : curveToggles)(plane, painter));
  } else if (painter instanceof HeatMap) {
    legend.append(...painter.legend());
  } else {
    legend.append(...[...PARTS, "hidden"].map((part) => html("span", { class: "key" },
      html("i", { class: `chip ${part}` }), PART_NAMES[part])));
  }
}

function curveToggles(plane, painter) {
  return painter.curves.map((curve) => {
    const entry = toggle(nameOf(curve), true, (on) => {
      curve.hidden = !on;
      plane.draw();
    });
    entry.prepend(html("i", { class: `chip line-chip ${styleOf(curve)}` }));
    return entry;
  });
}

// Training and validation of all runs: which colour is which run's, the toolbar says.
function kindToggles(plane, painter) {
  return [...new Set(painter.curves.map((curve) => curve.name))].map((name) => {
    const curves = painter.curves.filter((curve) => curve.name === name);
    const entry = toggle(name, true, (on) => {
      for (const curve of curves) curve.hidden = !on;
      plane.draw();
    });
    entry.prepend(html("i", { class: `chip line-chip ${curves[0].validation ? "validation" : ""}` }));
    return entry;
  });
}

function addTable(figure, painter) {
  const details = figure.querySelector("details.numbers");
  details.addEventListener("toggle", () => {
    if (details.open) fillTable(details, painter);
  });
}

function fillTable(details, painter) {
  const { head, rows } = painter.table();
  const table = html("table", {},
    html("thead", {}, html("tr", {}, ...head.map((word) => html("th", { scope: "col" }, word)))),
    html("tbody", {}, ...rows.map((cells) => html("tr", {}, ...cells.map((cell, i) =>
      i ? html("td", {}, cell) : html("th", { scope: "row" }, cell))))));
  details.querySelector(".scroll").replaceChildren(table);
}

// -- all figures ----------------------------------------------------------------------------------

function addRuns(toolbar) {
  data.runs.forEach((run, i) => {
    const entry = toggle(run.name, true, (on) => {
      if (on) view.hidden.delete(i);
      else view.hidden.add(i);
      redraw();
    });
    entry.prepend(html("i", { class: `chip run-${run.colour}` }));
    toolbar.append(entry);
  });
}

// Windows as parts of the longest run, in steps that are round.
function windows() {
  const most = Math.max(0, ...data.runs.map((run) => run.clock.steps.at(-1) ?? 0));
  const found = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1].map((part) => part * most)
    .filter((steps) => steps >= 2).map((steps) => roundStep(steps));
  return [0, ...new Set(found)];
}

function addSmoothing() {
  const slider = document.getElementById("smoothing"), said = document.getElementById("smoothing-said");
  const choices = windows();
  slider.max = choices.length - 1;
  const apply = () => {
    view.smoothing = choices[slider.value];
    said.textContent = view.smoothing ? `mean of ${view.smoothing.toLocaleString("en-US")} steps` : "off";
    slider.setAttribute("aria-valuetext", said.textContent);
  };
  // Training losses are of one batch each: without a mean their course is hard to see.
  const longest = Math.max(0, ...data.curves.flatMap((figure) => figure.curves.map((curve) => curve.steps.length)));
  slider.value = longest > 400 ? Math.min(4, choices.length - 1) : 0;
  slider.addEventListener("input", () => {
    apply();
    redraw();
  });
  apply();
}

function addAxis() {
  for (const choice of document.querySelectorAll("input[name=axis]")) {
    choice.addEventListener("change", () => {
      view.axis = choice.value;
      view.zoom = null;
      redraw();
    });
  }
}

const runs = document.getElementById("runs");
if (data.runs.length > 1) addRuns(runs);
else runs.remove();
if (data.curves.length) addSmoothing();
addAxis();
document.getElementById("reset").addEventListener("click", () => setZoom(null));
document.getElementById("clip").addEventListener("change", (event) => {
  view.clip = event.target.checked;
  redraw();
});

for (const choice of document.querySelectorAll("input.differences")) {
  choice.addEventListener("change", () => {
    const table = document.getElementById(choice.getAttribute("aria-controls"));
    table.classList.toggle("only-differences", choice.checked);
  });
}

for (const copy of document.querySelectorAll("button.copy")) {
  copy.addEventListener("click", async () => {
    const text = document.getElementById(copy.dataset.of).textContent;
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "copied";
    } catch {
      // No clipboard for this page: the text is selected instead, for Ctrl-C.
      getSelection().selectAllChildren(document.getElementById(copy.dataset.of));
      copy.textContent = "selected";
    }
    setTimeout(() => (copy.textContent = "copy"), 1500);
  });
}

redraw();
document.documentElement.dataset.drawn = "";
