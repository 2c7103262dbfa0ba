"""Links between the pages: files exist, headings exist, on a code host and on the site alike."""

from __future__ import annotations

import re

import pytest
from pages import DOCS, PAGES, ROOT, anchors, links, name_of


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page):
    lost = []
    for file, anchor in links(page):
        target = (page.parent / file).resolve() if file else page
        if not target.exists():
            lost.append(file)
        elif anchor and target.suffix == ".md":
            for host in (True, False):
                if anchor not in anchors(target, host=host):
                    lost.append(f"{file}#{anchor} ({'code host' if host else 'site'})")
    assert lost == []


def test_every_page_stands_in_the_navigation():
    _, _, navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")
    listed = set(re.findall(r"^ *- (?:.*: )?(\S+\.md)$", navigation, re.MULTILINE))
    pages = {page.relative_to(DOCS).as_posix() for page in PAGES if page.is_relative_to(DOCS)}
    assert {page for page in pages if not page.startswith("course/")} - listed == set()


def test_the_anchors_are_those_that_the_two_make(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `--flag`, and more\n\n## Twice\n\n## Twice\n\n```sh\n# no heading\n```\n")
    assert anchors(page, host=True) == {"a---flag-and-more", "twice", "twice-1"}
    assert anchors(page, host=False) == {"a-flag-and-more", "twice", "twice_1"}
