"""The front door does what it says."""

from __future__ import annotations

import re

from jobs import ROOT
from training import alone, simulated

README = (ROOT / "README.md").read_text()


def test_the_training_loop_of_the_readme_runs_and_learns() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)

    def body() -> float:
        scope: dict[str, object] = {}
        exec(code, scope)
        return float(scope["loss"])  # type: ignore[arg-type]

    assert alone(body) < 2.2  # ten classes by chance: 2.30
    assert all(loss < 2.3 for loss in simulated(3, body))


def test_every_file_the_readme_links_exists() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
