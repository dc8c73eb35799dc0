"""A headless Chromium, and pages that note what they asked for and complained of.

The tests here are skipped where no Chromium is found, or where `make browser` has not brought the npm packages.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NODE_MODULES = Path(__file__).parent / "node_modules"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = {"desktop": 1200, "phone": 390}
# A browser that asks nobody anything at its start.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Opened:
    """A page in a browser: `page` is playwright's, `errors` its console's, `requests` all addresses that it asked."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One Chromium for all tests."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: `make browser` installs Debian's")
    playwright = pytest.importorskip("playwright.sync_api", reason="`make browser` brings playwright")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=found, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Opened]]:
    """Opens an address or a file: `opened(path, width=390, dark=True)`."""
    contexts = []

    def open_(address: str | Path, width: int = WIDTHS["desktop"], dark: bool = False, **options: Any) -> Opened:
        address = address.resolve().as_uri() if isinstance(address, Path) else address
        scheme = "dark" if dark else "light"
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        contexts.append(context)
        one = Opened(context.new_page())
        one.page.on("console", lambda told: one.errors.append(told.text) if told.type in ("error", "warning") else None)
        one.page.on("pageerror", lambda error: one.errors.append(str(error)))
        one.page.on("request", lambda request: one.requests.append(request.url))
        one.page.goto(address)
        return one

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def npm_package() -> Callable[[str], Path]:
    """The folder of an npm package that `make browser` has brought."""

    def folder(name: str) -> Path:
        if not (NODE_MODULES / name).is_dir():
            pytest.skip(f"no npm package {name}: `make browser` brings it")
        return NODE_MODULES / name

    return folder
