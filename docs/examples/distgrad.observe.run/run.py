"""Examples of distgrad.observe.run."""

import tempfile
from pathlib import Path

from distgrad.observe import Run
from distgrad.observe import run as runs

folder = Path(tempfile.mkdtemp(), "a")

# Examples

# RunReader, Part: while the training runs, each time what has been added
with Run(folder, plots=False) as run:
    run.log(1, {"loss": 0.5})
    run.flush()
    reader = runs.RunReader(folder)
    first = reader.read()
    run.log(2, {"loss": 0.25})
    run.flush()
    second = reader.read()
print(first.series("loss"), second.series("loss"))
isinstance(second.parts[0], runs.Part), second.parts[0].ranks
