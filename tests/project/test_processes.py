"""Which tests one process takes together: pytest-xdist, asked with two processes that run nothing."""

from __future__ import annotations

from types import SimpleNamespace

import processes
import pytest

Producer = pytest.importorskip("xdist.remote").Producer
CONFTEST = str(processes.HERE / "conftest.py")


class Node:
    """A process of xdist's that notes what it is given."""

    shutting_down = False

    def __init__(self, name: str) -> None:
        self.gateway, self.given = SimpleNamespace(id=name), []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given.append(indices)

    def shutdown(self) -> None:
        self.shutting_down = True


def given(tests: list[str]) -> list[list[str]]:
    """The tests that either of two processes is handed at first."""
    config = SimpleNamespace(option=SimpleNamespace(), getvalue={"tx": ["2*popen"]}.get)
    scheduler = processes.scheduler(config, Producer("quiet", enabled=False))
    nodes, tests = [Node("a"), Node("b")], sorted(tests, key=processes.order_of)
    for node in nodes:
        scheduler.add_node(node)
    for node in nodes:
        scheduler.add_node_collection(node, tests)
    scheduler.schedule()
    return [[tests[i] for indices in node.given for i in indices] for node in nodes]


def test_a_file_is_one_processes_and_the_longest_comes_first():
    short = [f"tests/disk/test_home.py::test_{i}" for i in range(5)]
    long = [f"tests/runs/test_export.py::test_it[{i}/a::b]" for i in range(3)]
    assert given(short + long) == [long, short]


def test_what_uses_the_browser_is_one_processes():
    pages = [f"tests/browser/test_{name}.py::test_{i}" for name in ("a", "b") for i in range(2)]
    others = [f"tests/disk/test_home.py::test_{i}" for i in range(3)]
    assert given(pages + others) == [pages, others]


def test_tests_that_share_nothing_dear_even_out_at_the_end():
    alone = [f"tests/fast/test_fast_parity.py::test_x[{i}]" for i in range(4)]
    file = [f"tests/disk/test_home.py::test_{i}" for i in range(3)]
    assert given(alone + file) == [file, alone[:2]], "the others wait for whoever is done"


def test_every_file_that_is_named_exists():
    assert not [name for name in (*processes.ONE_BY_ONE, *processes.FIRST) if not (processes.HERE / name).exists()]


def test_this_pytest_is_asked_for_its_scheduler(pytestconfig):
    """Where pytest-xdist gives its hook another name, all of this would be without effect, and nobody would see it."""
    assert hasattr(pytestconfig.hook, "pytest_xdist_make_scheduler")
    conftest = next(p for p in pytestconfig.pluginmanager.get_plugins() if str(getattr(p, "__file__", "")) == CONFTEST)
    assert conftest.pytest_xdist_make_scheduler
