"""The report of a run of 100,000 steps, which takes seconds: made once."""

import pytest
from run_folders import long_run

from distgrad.observe.report import write_report


@pytest.fixture(scope="session")
def long(tmp_path_factory):
    """Return the path of the page."""
    folder = long_run().write(tmp_path_factory.mktemp("long") / "run")
    write_report([folder], folder / "report.html", "1.2.3")
    return folder / "report.html"
