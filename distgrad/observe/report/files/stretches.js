// Where a rank's time went, over the steps: the parts of each stretch, stacked to 100 %.

const PARTS = ["compute", "data", "waiting", "transfer"];
const PART_NAMES = {
  compute: "compute", data: "reading data", waiting: "waiting for others", transfer: "transfer",
  hidden: "transfer hidden under compute",
};

class Stretches {
  constructor(spec) {
    this.title = "share of the time";
    this.share = true;
    this.words = spec.words;
    this.run = spec.run;
    this.spec = spec;
    this.rank = "mean"; // or a rank's number
  }

  domain() {
    return [0, 1];
  }

  // The shares of stretch i: of the chosen rank, or the mean over the ranks.
  shares(i) {
    return (this.rank === "mean" ? this.spec.mean : this.spec.ranks[this.rank])[i];
  }

  draw(plane) {
    const { from, to } = this.spec;
    const paths = Object.fromEntries([...PARTS, "hidden"].map((part) => [part, ""]));
    from.forEach((first, i) => {
      const left = plane.x(placeOf(this.run, first, view.axis));
      const right = plane.x(placeOf(this.run, to[i], view.axis));
      if (right < plane.left || left > plane.left + plane.across) return;
      const shares = this.shares(i);
      const box = (low, high) =>
        `M${left.toFixed(1)} ${plane.y(low).toFixed(1)}H${right.toFixed(1)}V${plane.y(high).toFixed(1)}H${left.toFixed(1)}Z`;
      let low = 0;
      PARTS.forEach((part, k) => {
        paths[part] += box(low, low + shares[k]);
        low += shares[k];
      });
      paths.hidden += box(Math.max(0, shares[0] - shares[4]), shares[0]);
    });
    for (const [part, d] of Object.entries(paths)) {
      plane.marks.append(svg("path", { class: `stretch ${part}`, d }));
    }
  }

  read(plane, place) {
    const { from, to, step } = this.spec;
    const at = stepAt(this.run, place, view.axis);
    const i = Math.min(to.length - 1, lowerBound(to, at));
    const shares = this.shares(i);
    const middle = placeOf(this.run, (from[i] + to[i]) / 2, view.axis);
    const rows = [...PARTS, "hidden"].map((part, k) => ({
      name: PART_NAMES[part], value: spellShare(shares[k]), style: part,
    }));
    rows.push({ name: "a step", value: spellSeconds(step[i]), style: "none" });
    const title = `steps ${(from[i] + 1).toLocaleString("en-US")} to ${to[i].toLocaleString("en-US")}`;
    return { x: middle, title, rows };
  }

  table() {
    const { from, to, step } = this.spec;
    const head = ["steps", "a step", ...[...PARTS, "hidden"].map((part) => PART_NAMES[part])];
    const rows = evenly(from.map((_, i) => i), 60).map((i) => [
      `${(from[i] + 1).toLocaleString("en-US")} to ${to[i].toLocaleString("en-US")}`,
      spellSeconds(step[i]), ...this.shares(i).map(spellShare),
    ]);
    return { head, rows };
  }
}
