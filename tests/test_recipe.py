"""The conda recipe, as rattler-build reads it: the parser that will build it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import distgrad

rattler_build = pytest.importorskip(
    "rattler_build", reason="py-rattler-build is not installed (the extra lint)"
)
REPO = Path(__file__).resolve().parents[1]
RECIPE = REPO / "recipe/recipe.yaml"


def rendered(text: str) -> dict[str, Any]:
    """What is built: variables filled in, versions and licences parsed, unknown fields refused."""
    (variant,) = rattler_build.Stage0Recipe.from_yaml(text).render()
    return variant.recipe.to_dict()


def test_it_renders_to_one_package_for_every_python_and_platform():
    found = rendered(RECIPE.read_text())
    assert found["package"] == {"name": "distgrad", "version": distgrad.__version__}
    assert found["build"]["noarch"] == "python"
    assert found["build"]["python"]["entry_points"] == ["distgrad = distgrad.cli:main"]
    project = (REPO / "pyproject.toml").read_text()
    (lowest,) = re.findall(r'^requires-python = ">=(.*)"$', project, re.MULTILINE)
    assert f"python {lowest}.*" in found["requirements"]["host"]
    assert f"python >={lowest}" in found["requirements"]["run"]
    (licences,) = re.findall(r"^license-files = (.*)$", project, re.MULTILINE)
    assert found["about"]["license_file"] == json.loads(licences)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("run_constraints:", "run_constrained:"),
        ("numpy >=2.1", "numpy >=>2.1"),
        ("Apache-2.0", "A"),
    ],
)
def test_a_mistake_in_it_would_be_found(right: str, wrong: str) -> None:
    text = RECIPE.read_text()
    assert right in text
    with pytest.raises(Exception, match="invalid value"):
        rendered(text.replace(right, wrong))
