"""What is told of installed distributions, whole and broken, by both libraries that read them."""

import importlib
from importlib import metadata

import pytest

from kdrecipes.distributions import installed_version, stated

WHOLE = "Metadata-Version: 2.1\nName: kd-half\nVersion: 1.5\nRequires-Dist: rich\n"


@pytest.fixture(params=["standard library", "importlib_metadata"])
def half(request, tmp_path, monkeypatch):
    """`half(text)` installs kd-half with this METADATA; without the file for None."""
    if request.param == "importlib_metadata":  # once imported, it reads for the standard library too
        pytest.importorskip("importlib_metadata")
    monkeypatch.syspath_prepend(str(tmp_path))

    def made(text):
        info = tmp_path / "kd_half-1.5.dist-info"
        info.mkdir()
        if text is not None:
            (info / "METADATA").write_text(text)
        importlib.invalidate_caches()

    return made


@pytest.mark.parametrize("text, version", [(WHOLE, "1.5"), (None, ""), ("Name: kd-half\n", "")])
def test_the_version_is_empty_where_an_installation_states_none(half, text, version):
    half(text)
    assert installed_version("kd-half") == version
    found = metadata.distribution("kd-half")
    assert stated(found, "version") == (version or None)
    assert list(stated(found, "requires") or ()) == (["rich"] if version else [])


def test_what_is_not_installed_has_no_version():
    assert installed_version("kd-nowhere") is None
