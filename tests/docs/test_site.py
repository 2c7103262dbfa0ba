"""The site: it builds without a warning, fetches nothing, and a browser finds nothing wrong."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys

import pytest
from pages import DOCS, ROOT

NEEDED = ["mkdocs", "material", "latex2mathml", "yaml"]
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        bool(MISSING), reason=f"{', '.join(MISSING)} not installed: pip install -e '.[docs]'"
    ),
]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a site that was built strictly: every warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    for command in (
        [str(DOCS / "site/make.py"), str(folder)],
        ["-m", "mkdocs", "build", "--quiet", "--strict", "-f", str(folder / "mkdocs.yml")],
    ):
        done = subprocess.run(
            [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_the_site_has_every_page_and_the_reference(site):
    pages = {page.relative_to(site).as_posix() for page in site.rglob("*.html")}
    assert {page.with_suffix(".html").name for page in DOCS.glob("*.md")} <= pages
    assert {"reference/distgrad.nn.html", "reference/command-line.html"} <= pages
    assert "source/distgrad/parallel/ddp.py.html" in pages
    text = (site / "reference/distgrad.nn.html").read_text()
    assert 'id="distgrad.nn.Linear"' in text


def test_the_site_fetches_nothing_from_elsewhere(site):
    loads = r'<(?:script|img|iframe|source)[^>]*?src="(https?:)?//|<link[^>]*?href="(https?:)?//'
    loads += r'|@import\s+["\']?(?:url\()?["\']?https?:|url\(["\']?https?:'
    named = {
        page.relative_to(site).as_posix(): found[0]
        for page in [*site.rglob("*.html"), *site.rglob("*.css")]
        if (found := re.search(loads, page.read_text()))
    }
    assert named == {}


def test_every_link_of_the_reference_to_a_source_line_exists(site):
    for page in (site / "reference").glob("*.html"):
        for file, line in set(re.findall(r'href="\.\./(source/[^"#]+)#L(\d+)"', page.read_text())):
            assert f'id="L{line}"' in _text(site / file), f"{page.name}: {file}#L{line}"


TEXTS: dict = {}


def _text(path):
    return TEXTS.setdefault(path, path.read_text())


@pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed (Debian: apt install chromium)"
)
@pytest.mark.parametrize("page", ["index.html", "concepts.html", "reference/distgrad.nn.html"])
def test_a_browser_without_a_network_shows_a_page_and_complains_of_nothing(site, page, tmp_path):
    options = "--headless --no-sandbox --disable-gpu --no-first-run --disable-component-update"
    options += " --disable-background-networking --disable-sync --enable-logging=stderr"
    options += " --host-resolver-rules=MAP\t*\t~NOTFOUND --virtual-time-budget=5000 --dump-dom"
    done = subprocess.run(
        [CHROMIUM, *(o.replace("\t", " ") for o in options.split(" ")),
         f"--user-data-dir={tmp_path}", (site / page).as_uri()],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert 'class="js' in done.stdout or " js" in done.stdout.partition(">")[0] + done.stdout[:400]
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []
