"""The floors of pyproject.toml, ours and the plugins': above known vulnerabilities, and met by constraints.txt."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from light_install import normal
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [ROOT, *sorted(file.parent for file in (ROOT / "plugins").glob("*/pyproject.toml"))]
NOTED = re.compile(r'^ +"([^"]+)",  # (CVE-\d{4}-\d+|GHSA(?:-\w{4}){3}), mended in ([\d.]+)$', re.MULTILINE)
# They are installed in environments of their own, whose other packages constraints.txt does not fit.
OF_THEIR_OWN = {"litert-torch", "ai-edge-litert", "timm"}
# Whose known vulnerabilities the design names, or which open what strangers wrote.
OPENING = {"keras", "torch", "pillow", "onnx", "pyarrow", "jinja2", "transformers"}


def text_of(package: Path) -> str:
    return (package / "pyproject.toml").read_text(encoding="utf-8")


def requirements(package: Path) -> Iterator[Requirement]:
    """All that a package asks for, with every extra; our own packages apart."""
    project = tomllib.loads(text_of(package))["project"]
    for texts in (project["dependencies"], *project.get("optional-dependencies", {}).values()):
        yield from (one for one in map(Requirement, texts) if not one.name.startswith("kdrecipes"))


def floor(requirement: Requirement) -> Version:
    [version] = [one.version for one in requirement.specifier if one.operator == ">="]
    return Version(version)


def tree(requirement: Requirement, found: dict[str, str]) -> None:
    """Add what a requirement brings, as far as it is installed here: each name with its version."""
    name = normal(requirement.name)
    if name in found:
        return
    try:
        installed = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return
    found[name] = installed.version.partition("+")[0]
    for text in installed.requires or ():
        needed = Requirement(text)
        if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in ("", *requirement.extras)):
            tree(needed, found)


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    return {normal(name): version for name, _, version in (line.partition("==") for line in lines)}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda one: one.name)
def test_every_requirement_has_a_floor_that_constraints_txt_meets(package):
    pinned = constraints()
    for one in requirements(package):
        assert floor(one)
        if one.name not in OF_THEIR_OWN:
            assert one.specifier.contains(pinned[normal(one.name)]), f"{one}: {pinned[normal(one.name)]} is pinned"


def test_constraints_txt_names_all_that_our_packages_bring():
    found: dict[str, str] = {}
    for package in PACKAGES:
        for one in requirements(package):
            tree(one, found)
    pinned = constraints()
    if any(pinned.get(name, version) != version for name, version in found.items() if name not in OF_THEIR_OWN):
        pytest.skip("other versions are installed here than constraints.txt names")
    # pip itself, which pip-audit asks for, is there before anything is installed.
    assert len(found) > 100 and sorted(set(found) - set(pinned) - OF_THEIR_OWN - {"pip"}) == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda one: one.name)
def test_no_floor_goes_below_what_mended_the_vulnerability_beside_it(package):
    text = text_of(package)
    noted = NOTED.findall(text)
    assert len(noted) == len(re.findall("CVE-|GHSA-", text)), "a comment is not read by this test"
    for requirement, vulnerability, mended in noted:
        assert floor(Requirement(requirement)) >= Version(mended), vulnerability


def test_packages_that_open_what_strangers_wrote_have_a_vulnerability_noted():
    noted = {Requirement(one).name for package in PACKAGES for one, _, _ in NOTED.findall(text_of(package))}
    assert noted >= OPENING


def test_one_package_has_one_floor_everywhere():
    floors: dict[str, set[Version]] = {}
    for package in PACKAGES:
        for one in requirements(package):
            floors.setdefault(one.name, set()).add(floor(one))
    assert {name: found for name, found in floors.items() if len(found) > 1 and name in OPENING} == {}


def test_python_3_12_with_torch_2_11_is_within_the_ranges():
    assert Requirement("x" + tomllib.loads(text_of(ROOT))["project"]["requires-python"]).specifier.contains("3.12")
    [torch] = [one for one in requirements(ROOT) if one.name == "torch"]
    assert torch.specifier.contains("2.11")
