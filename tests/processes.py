"""Which tests one process takes together where several share the work, and which begin first.

pytest-xdist 3.8 finds its own groups in a private name that pytest 9.2 no longer has; what follows needs names of files
alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# Tests of a file share what it makes once: a run, packages, a network. These share nothing dear, and are many or long.
ONE_BY_ONE = (
    "fast/test_fast_parity.py",
    "project/test_docs.py",
    "project/test_light_install.py",
    "runs/test_resume.py",
    "testing/test_testing.py",
)
# All that is here shares one browser.
TOGETHER = "browser"
# The longest first, so that the processes end together.
FIRST = (
    "runs/test_export.py",
    "browser",
    "project/test_packaging.py",
    "plugins/test_plugin_packages.py",
    "project/test_plugin_guide.py",
    "project/test_deploy.py",
    "components/test_hub.py",
    "runs/test_food101.py",
    "runs/test_trackers.py",
    "runs/test_sweep.py",
    "project/test_teacher_chains.py",
    "data/test_memory.py",
    "project/test_benchmarks.py",
    "project/test_readme.py",
)


def scope_of(nodeid: str) -> str:
    """What a test shares its process with: a file, a folder, or nothing but itself.

    >>> scope_of("tests/runs/test_run.py::test_x[a/b::c]")
    'runs/test_run.py'
    """
    file, _, test = nodeid.partition("::")
    file = file.removeprefix(f"{HERE.name}/")
    if file.startswith(f"{TOGETHER}/"):
        return TOGETHER
    return f"{file}::{test}" if file in ONE_BY_ONE else file


def order_of(nodeid: str) -> int:
    """Where a test stands: the longest scopes first, then whole files, then what evens out at the end."""
    scope = scope_of(nodeid)
    if scope in FIRST:
        return FIRST.index(scope)
    return len(FIRST) + ("::" in scope)


def scheduler(config: Any, log: Any) -> Any:
    """pytest-xdist's scheduler by scopes, with ours for its own."""
    from xdist.scheduler import LoadScopeScheduling

    class ByScope(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    config.option.loadscopereorder = False  # by number of tests; the longest have few
    return ByScope(config, log)
