"""The site: it builds without a warning, fetches nothing, and a browser finds nothing wrong."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys

import course
import execute
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
        [str(DOCS / "site/make.py"), str(folder), "--without-outputs"],
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


def test_every_file_that_a_page_loads_is_there(site):
    loads = r'<(?:script|img|iframe)[^>]*?src="([^":#?]+)'
    loads += r'|<link[^>]*?rel="stylesheet"[^>]*?href="([^":#?]+)'
    lost = set()
    for page in site.rglob("*.html"):
        for pair in re.findall(loads, page.read_text()):
            file = "".join(pair)
            if page.name != "404.html" and not (page.parent / file).exists():
                lost.add((page.name, file))
    assert lost == set()


def test_every_link_of_the_reference_to_a_source_line_exists(site):
    for page in (site / "reference").glob("*.html"):
        for file, line in set(re.findall(r'href="\.\./(source/[^"#]+)#L(\d+)"', page.read_text())):
            assert f'id="L{line}"' in _text(site / file), f"{page.name}: {file}#L{line}"


TEXTS: dict = {}


def _text(path):
    return TEXTS.setdefault(path, path.read_text())


def browse(url: str, folder):
    """Return what Chromium makes of a page, without any network, and what it complains of."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (Debian: apt install chromium)")
    options = ["headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-sync"]
    options += ["disable-component-update", "disable-background-networking"]
    options += ["host-resolver-rules=MAP * ~NOTFOUND", f"user-data-dir={folder}"]
    options += ["enable-logging=stderr", "virtual-time-budget=15000", "dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *(f"--{option}" for option in options), url],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_notebook_has_on_its_page_what_it_prints_and_draws():
    for name in ("matplotlib", "ipykernel", "nbclient"):
        pytest.importorskip(name, reason="runs the course: pip install -e '.[docs,plot]'")
    source = DOCS / "course/source/2-graph.py"
    outputs = {source.stem: execute.executed(source)}
    _, text = course.pages(DOCS / "course", outputs)["course/2-graph.md"]
    assert text.count('src="data:image/png;base64,') == source.read_text().count("plt.figure(") + 2
    assert "``` { .text .result }\n" in text
    assert str(ROOT) not in text
    # The exercise is the reader's: neither its check nor the solution says anything.
    after = text[text.index("# your lines: ") :]
    assert ".result" not in after


def test_a_formula_at_the_beginning_of_a_line_ends_no_paragraph(site):
    text = (site / "course/5-overlap.html").read_text()
    assert re.search(r"<p><span><math.{1,400}</span>, the latency, is what", text)


@pytest.mark.parametrize("page", ["concepts.html", "reference/distgrad.nn.html"])
def test_a_browser_without_a_network_shows_a_page_and_complains_of_nothing(site, page, tmp_path):
    text, complaints = browse((site / page).as_uri(), tmp_path)
    assert re.search(r'<html[^>]* class="[^"]*\bjs\b', text)
    assert complaints == []


def test_the_search_finds_a_public_name_from_a_folder_without_a_server(site, tmp_path):
    text, complaints = browse((site / "index.html").as_uri() + "?q=clip_grad_norm_", tmp_path)
    found = re.findall(r'href="[^"]*/(reference/[^"?]*)\?[^"]*#([\w.]+)"', text)
    assert ("reference/distgrad.html", "distgrad.clip_grad_norm_") in found
    assert complaints == []
