"""Draws docs/timeline.png from a recorded timeline: ``python docs/draw_timeline.py FOLDER``.

FOLDER is what ``dg.observe.profile(FOLDER)`` has written; needs matplotlib.
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

COLOURS = {
    "data": "#8c6bb1",
    "forward": "#4292c6",
    "backward": "#41ab5d",
    "reduction": "#a1d99b",
    "clipping": "#fdd0a2",
    "optimizer": "#fd8d3c",
    "waiting": "#de2d26",
    "transfer": "#fc9272",
    "collective": "#969696",
}
STEPS = (10, 11)
HERE = Path(__file__).parent


def lines(folder, rank):
    """Return the bars of a rank."""
    _, *found = map(json.loads, (folder / f"rank-{rank}.jsonl").read_text().splitlines())
    return found


def main():
    """Draw it."""
    folder = Path(sys.argv[1])
    ranks = len([*folder.glob("rank-*.jsonl")])
    steps = [s for s in lines(folder, 0) if s["kind"] == "step" and s.get("step") in STEPS]
    begin, end = steps[0]["start"], steps[-1]["end"]
    figure, axes = plt.subplots(figsize=(11, 0.9 + 1.1 * ranks), layout="constrained")
    for rank in range(ranks):
        for line in lines(folder, rank):
            if line["kind"] not in COLOURS or not begin <= line["start"] < end:
                continue
            low = -rank - (0.35 if line["lane"] else 0.0)
            if line["lane"] > 1:
                continue
            width = (line["end"] - line["start"]) * 1e3
            axes.barh(
                low,
                width,
                height=0.3,
                left=(line["start"] - begin) * 1e3,
                color=COLOURS[line["kind"]],
                edgecolor="white",
                linewidth=0.3,
            )
            if width > 12 and not line["lane"]:
                middle = (line["start"] - begin) * 1e3 + width / 2
                if line["kind"] in ("waiting", "forward") and line["name"] != "Sequential":
                    text = "waiting" if line["kind"] == "waiting" else line["name"]
                    axes.text(middle, low, text, ha="center", va="center", fontsize=8, color="w")
    axes.set_yticks(
        [-r - s for r in range(ranks) for s in (0, 0.35)],
        [t for r in range(ranks) for t in (f"rank {r}", "in flight")],
    )
    axes.set_xlabel(f"milliseconds; steps {STEPS[0]} and {STEPS[-1]}")
    axes.set_xlim(0, (end - begin) * 1e3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    handles = [plt.Rectangle((0, 0), 1, 1, color=c) for c in COLOURS.values()]
    axes.legend(
        handles,
        COLOURS,
        ncols=len(COLOURS),
        fontsize=7,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        frameon=False,
    )
    figure.savefig(HERE / "timeline.png", dpi=110)


main()
