"""What tests of stores share: a source that counts what is read of it, and a process that builds a store."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.data.store import Store, open_store
from kdrecipes.disk.home import home

CLASSES = ["cat", "dog", "eel"]


class Source:
    """A source that gives what it is told: an array is an image, an exception is raised. Counts what is read."""

    def __init__(self, images, labels=None, classes=CLASSES, fingerprint="f"):
        self.images = list(images)
        self.labels = [i % len(classes) for i in range(len(self.images))] if labels is None else labels
        self.classes, self.fingerprint, self.reads = classes, fingerprint, 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> dict[str, Any]:
        self.reads += 1
        if isinstance(self.images[i], Exception):
            raise self.images[i]
        return {"image": self.images[i], "label": self.labels[i]}

    def name_of(self, i: int) -> str:
        return f"picture-{i}.png"


class Stopping(Source):
    """Ends the process, as it were, when an example is read."""

    at: int | None = None

    def __getitem__(self, i: int) -> dict[str, Any]:
        if i == self.at:
            raise KeyboardInterrupt
        return super().__getitem__(i)


def pictures(count: int, height: int = 5, width: int = 5, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8)


def opened(source: Any, **changes: Any) -> Store:
    settings: dict[str, Any] = {"name": "pets train", "image_size": None, "store_size": None}
    settings |= {"resize": "squash", "identity": "pets"} | changes
    return open_store(source, settings.pop("identity"), **settings)


def stores() -> list[Path]:
    """All that is in the stores' folder but the locks; a half-built store would be among it."""
    folder = home() / "stores"
    return sorted(path for path in folder.iterdir() if path.name != ".locks") if folder.exists() else []


BUILDER = """
import sys
import numpy as np
from kdrecipes.data.store import open_store

class Source:
    classes, fingerprint, reads = ["a", "b"], "f", 0
    def __len__(self):
        return 50
    def __getitem__(self, i):
        if self.reads == 50:  # all were probed for their size: this one is read to be written
            print("reading", flush=True)
            sys.stdin.readline()
        self.reads += 1
        return {"image": np.full((4, 4, 3), i, np.uint8), "label": i % 2}

source = Source()
print("opening", flush=True)
store = open_store(source, 1, name="n", image_size=4, store_size=None, resize="squash")
print("done", source.reads > 0, len(store), store.fingerprint, flush=True)
"""


def line(process: subprocess.Popen) -> str:
    assert process.stdout
    return process.stdout.readline().strip()
