"""The two files of versions say what pyproject.toml claims."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def claims() -> dict[str, Requirement]:
    """Requirements of the package and of its extras, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    found = [Requirement(text) for texts in lists for text in texts]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def pins(file: str) -> dict[str, str]:
    """Versions of a constraints file, by name."""
    lines = [line for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert lines == sorted(lines, key=str.lower), f"{file} is not sorted"
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_the_minimum_is_what_pyproject_claims() -> None:
    lowest = {
        name: bound.version
        for name, requirement in claims().items()
        for bound in requirement.specifier
        if bound.operator == ">="
    }
    assert pins("constraints-minimum.txt") == lowest


def test_every_claim_has_a_lowest_version() -> None:
    without = [name for name, requirement in claims().items() if ">=" not in str(requirement.specifier)]
    assert not without


def test_pinned_versions_are_within_the_claims() -> None:
    pinned = pins("constraints.txt")
    outside = [str(requirement) for name, requirement in claims().items() if pinned[name] not in requirement.specifier]
    assert not outside
