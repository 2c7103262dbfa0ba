"""docs/compared.md: what its last column says can be typed; test_names.py looks at dotted names."""

from __future__ import annotations

import inspect
import re

import pytest
from pages import ROOT

import distgrad as dg

PAGE = (ROOT / "docs/compared.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
HERE = [row[-1] for row in ROWS if row[-1] != "distgrad"]
OWNERS = {"trainer": dg.Trainer, "world": dg.init, "run": dg.observe.Run}
CALLS = {"Trainer": dg.Trainer, "fit": dg.Trainer.fit, "DataLoader": dg.data.DataLoader}


def test_every_row_has_a_cell_for_each_library():
    assert len(HERE) > 50
    assert {len(row) for row in ROWS} == {5, 6}  # a head begins with an empty cell
    assert all(cell.strip() for row in ROWS for cell in row)


def test_less_or_none_comes_with_a_reason():
    short = [cell for cell in HERE if re.match(r"(less|none)\b", cell)]
    assert len(short) > 5
    assert [cell for cell in short if not re.match(r"(less|none): \w.{20}", cell)] == []


@pytest.mark.parametrize("kind", ["methods", "keywords"])
def test_methods_and_keywords_of_the_last_column_exist(kind):
    text = " ".join(HERE)
    if kind == "methods":
        found = re.findall(r"`(trainer|world|run)\.(\w+)", text)
        owners = OWNERS | {"world": dg.init()}
        missing = [name for name in found if not hasattr(owners[name[0]], name[1])]
    else:
        found = [
            (call, name)
            for call, arguments in re.findall(r"`(Trainer|fit|DataLoader)\((.*?)\)`", text)
            for name in re.findall(r"\b(\w+)=", arguments)
        ]
        missing = [(c, n) for c, n in found if n not in inspect.signature(CALLS[c]).parameters]
        bare = re.findall(r"`(\w+)=[^`]*`", text)
        settings = inspect.signature(dg.Trainer).parameters
        missing += [name for name in bare if name not in settings]
    assert len(found) > 5
    assert missing == []
