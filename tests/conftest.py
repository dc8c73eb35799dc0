"""What every test stands on: a throw-away KDRECIPES_HOME, Keras on torch, no windows, fake plugin distributions."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["KERAS_BACKEND"] = "torch"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: a second thread costs more than it gives
os.environ["MPLBACKEND"] = "Agg"
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # tolerances and bit-identity are promised for the CPU
os.environ["KDRECIPES_HOME"] = tempfile.mkdtemp(prefix="kdrecipes-tests-")

from charts import draw_for
from hypothesis import HealthCheck, settings
from other_user import giving_away
from processes import order_of, scheduler

from kdrecipes.components.registry import load_registry

# The same examples on every run: a new one found by chance belongs to a run by hand with more examples.
# And a busy machine makes no example wrong.
settings.register_profile("repeatable", derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")
os.fsync = lambda file: None  # what a test writes need not outlive a power cut; a run writes a hundred files

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    draw_for(item.path)


@pytest.hookimpl(optionalhook=True)  # where pytest-xdist is installed
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return scheduler(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # one of several processes: each has them in the same order
        items.sort(key=lambda item: order_of(item.nodeid))


def pytest_sessionfinish() -> None:
    import shutil

    shutil.rmtree(os.environ["KDRECIPES_HOME"], ignore_errors=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A KDRECIPES_HOME of the test's own, tmp_path/home: no teacher and no store of another test is in it."""
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def eager_compiler(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """torch.compile without its code generator, which takes minutes here: the graph is captured all the same."""
    import torch

    calls: list[dict[str, object]] = []
    real = torch.compile

    def compile_(function, **options):
        calls.append(options)
        return real(function, backend="eager", fullgraph=True, **options)

    monkeypatch.setattr(torch, "compile", compile_)
    return calls


@pytest.fixture
def built_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No installed plugin but the built-ins, so that what a message lists does not depend on the machine."""
    real = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda **select: () if select.get("group") == "kdrecipes" else real(**select),
    )
    load_registry.cache_clear()
    yield
    load_registry.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """`install("kdrecipes-x", code)` fakes an installed plugin distribution with one module; returns its folder.

    `name` is the distribution's, `module` its module's (default: the name with underscores), `requires` a requirement.
    """
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    modules = []

    def fake(name: str, code: str, module: str = "", requires: str = "") -> Path:
        module = module or name.replace("-", "_")
        modules.append(module)
        (site / f"{module}.py").write_text(code, encoding="utf-8")
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}"
        (info / "METADATA").write_text(text, encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[kdrecipes]\n{module} = {module}\n", encoding="utf-8")
        importlib.invalidate_caches()
        load_registry.cache_clear()
        return site

    load_registry.cache_clear()
    yield fake
    load_registry.cache_clear()
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`call("list", "models")` → exit code, stdout, stderr, through the entry point that the script uses."""

    from kdrecipes.cli import main as cli

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kdrecipes", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return caught.value.code or 0, captured.out, captured.err  # type: ignore[return-value]

    return call


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """`give_away(path)`: it is another user's from now on."""
    return giving_away(monkeypatch)
