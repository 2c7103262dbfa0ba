// Elements, numbers and ticks. The files of this folder are one script, in the order page.py names.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);

// -- elements -------------------------------------------------------------------------------------

function make(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

function html(name, attributes = {}, ...children) {
  return make(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return make(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function button(words, attributes, act) {
  const made = html("button", { type: "button", ...attributes }, words);
  made.addEventListener("click", act);
  return made;
}

// -- numbers as words -----------------------------------------------------------------------------

function spellNumber(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(3);
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return value.toLocaleString("en-US", { maximumSignificantDigits: 5 });
}

// As distgrad/observe/durations.py has it.
function spellSeconds(seconds) {
  if (!seconds) return "0 s";
  for (const [size, unit] of [[1e-9, "ns"], [1e-6, "µs"], [1e-3, "ms"], [1, "s"]]) {
    const rounded = Number((seconds / size).toPrecision(3));
    if (rounded < (size < 1 ? 1000 : MINUTE)) return `${rounded} ${unit}`;
  }
  const whole = Math.round(seconds), minutes = Math.round(seconds / MINUTE);
  if (whole < HOUR) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (minutes * MINUTE < 2 * DAY) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  const hours = Math.round(seconds / HOUR);
  return `${Math.floor(hours / 24).toLocaleString("en-US")} d ${hours % 24} h`;
}

const spellShare = (part) => `${(100 * part).toFixed(1)}%`;

// The three x axes: what a place on each is called, in a tooltip and on a tick.
const AXES = {
  step: { title: "step", spell: (x) => `step ${Math.round(x).toLocaleString("en-US")}` },
  epoch: { title: "epochs done", spell: (x) => `${Number(x.toFixed(2))} epochs done` },
  time: { title: "training time", spell: spellSeconds },
};

// -- ticks ----------------------------------------------------------------------------------------

// The round number at or above `least` among `digits` × 10^k.
function roundStep(least, digits = [1, 2, 5, 10]) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * digits.find((digit) => digit * power >= least * (1 - 1e-9));
}

function linearTicks(low, high, most) {
  const step = roundStep((high - low) / most);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(0, count) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function logTicks(low, high, most) {
  const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
  const every = Math.max(1, Math.ceil((last - first + 1) / most));
  const ticks = [];
  const within = (value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9);
  for (let k = first - 1; k <= last; k++) {
    const digits = last - first < 2 ? [1, 2, 5] : [1];
    for (const digit of digits) {
      const value = Number(`${digit}e${k}`);
      if (within(value) && (k - first) % every === 0) ticks.push(value);
    }
  }
  return ticks.length > 1 ? ticks : linearTicks(low, high, most).filter((value) => value > 0);
}

const MINUTE = 60, HOUR = 3600, DAY = 86400;
const TIMES = [15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR,
  2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY];

function timeTicks(low, high, most) {
  const least = (high - low) / most;
  if (least <= 10) return linearTicks(low, high, most);
  const step = TIMES.find((time) => time >= least) ?? DAY * roundStep(least / DAY);
  const first = Math.ceil(low / step), count = Math.floor(high / step) - first + 1;
  return Array.from({ length: Math.max(0, count) }, (_, i) => (first + i) * step);
}

function tickLabel(value, axis) {
  if (axis !== "time") {
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
      return value.toExponential().replace("e+", "e");
    }
    return value.toLocaleString("en-US", { maximumSignificantDigits: 6 });
  }
  if (value < MINUTE) return `${value} s`;
  const hours = Math.floor(value / HOUR), minutes = Math.floor((value % HOUR) / MINUTE);
  const seconds = Math.round(value % MINUTE);
  if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  return seconds ? `${minutes} min ${seconds} s` : `${minutes} min`;
}

// -- places in sorted lists -----------------------------------------------------------------------

// The first index whose value is at least x.
function lowerBound(values, x) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

function nearest(values, x) {
  const i = lowerBound(values, x);
  if (i === 0) return 0;
  if (i === values.length) return i - 1;
  return x - values[i - 1] <= values[i] - x ? i - 1 : i;
}

// The piecewise linear function through (from, to), ends held.
function interpolate(from, to, x) {
  const i = lowerBound(from, x);
  if (i === 0) return to[0];
  if (i === from.length) return to[i - 1];
  const part = (x - from[i - 1]) / (from[i] - from[i - 1]);
  return to[i - 1] + part * (to[i] - to[i - 1]);
}

// A step of a run as a place on the x axis, and back.
function placeOf(run, step, axis) {
  if (axis === "step") return step;
  const clock = data.runs[run].clock;
  return interpolate(clock.steps, axis === "time" ? clock.seconds : clock.epochs, step);
}

function stepAt(run, x, axis) {
  if (axis === "step") return x;
  const clock = data.runs[run].clock;
  return interpolate(axis === "time" ? clock.seconds : clock.epochs, clock.steps, x);
}
