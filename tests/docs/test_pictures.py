"""The pictures of docs/concepts.md say what happened."""

from __future__ import annotations

import importlib.util
import re

import pytest
from pages import DOCS

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install -e '.[plot]'")
SPEC = importlib.util.spec_from_file_location("make_pictures", DOCS / "make_pictures.py")
pictures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pictures)


@pytest.fixture(autouse=True)
def _closed():
    yield
    from matplotlib import pyplot as plt  # noqa: PLC0415 (not before it is known to be there)

    plt.close("all")


def test_every_picture_that_a_page_shows_is_drawn_by_the_script_and_small():
    shown = set()
    for page in DOCS.glob("*.md"):
        shown |= set(re.findall(r"\]\(pictures/(\w+\.svg)\)", page.read_text()))
    drawn = {path.name for path in pictures.FOLDER.glob("*.svg")}
    assert shown == drawn
    assert all((pictures.FOLDER / name).stat().st_size < 100_000 for name in drawn)


def test_the_picture_of_the_shards_has_each_of_them_once_a_row():
    (axes,) = pictures.shards().axes
    left = sorted((bar.get_y(), round(bar.get_x(), 2)) for bar in axes.patches)
    rows = {y for y, _ in left}
    assert len(rows) == 4
    assert all([x for row, x in left if row == y] == [2 * i + 0.06 for i in range(8)] for y in rows)


def test_the_picture_of_the_bits_says_that_with_shards_they_are_the_same():
    (axes,) = pictures.bits().axes
    away = {line.get_label(): max(line.get_ydata()) for line in axes.lines}
    assert [most for label, most in away.items() if "shards=8: all 0" in label] == [0, 0, 0]
    assert all(most > 0 for label, most in away.items() if "without shards" in label)
