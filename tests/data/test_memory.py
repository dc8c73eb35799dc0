"""Memory: what a process holds for itself while it trains does not grow with the number of examples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kdrecipes.data import store as stores
from kdrecipes.data.row_sums import hashes_of
from kdrecipes.disk.files import write_json
from kdrecipes.hashing import digest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="RssAnon is Linux's"),
]

LIMIT = 60.0  # MB; 60,000 images of 28 px are 141 MB, 100,000 of 224 px are 15 GB

# A part of an epoch of each store, in a process of their own; prints the greatest RssAnon so far, the memory that no
# file stands behind, in MB.
CODE = """
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from kdrecipes.backend import keras
from kdrecipes.data import store as stores
from kdrecipes.data.examples import ViewSettings
from kdrecipes.data.splits import Split
from kdrecipes.data.loader import EpochSetter, Loader
from kdrecipes.recipe.make import views_table
from kdrecipes.training.distiller import Distiller

size, batch, views, *folders = sys.argv[1:]

class Watch(keras.callbacks.Callback):
    largest = 0.0

    def on_train_batch_end(self, number, logs=None):
        lines = Path("/proc/self/status").read_text().splitlines()
        now = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
        self.largest = max(self.largest, now / 1024)

pixels = keras.Input((int(size), int(size), 3))
student = keras.Model(pixels, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(pixels)))
views = views_table({"flip": False, "crop_padding": 0, **json.loads(views)})
watch, distiller = Watch(), Distiller(student=student)
distiller.compile(optimizer="sgd")
for folder in folders:
    store = stores._open(Path(folder.removeprefix("read whole: ")))
    if folder.startswith("read whole: "):
        store = replace(store, images=np.array(store.images))
    split = Split(store, np.arange(len(store)))
    loader = Loader(split, int(batch), int(size), settings=ViewSettings(views, 0), order_seed=0, drop_last=True)
    distiller.fit(loader, steps_per_epoch=12, verbose=0, shuffle=False, callbacks=[EpochSetter(loader), watch])
    print(loader.read_ahead, watch.largest)
"""


def made_store(folder: Path, examples: int, side: int) -> Path:
    """A store of black images that takes no room on the disk: the file of its pixels is one hole."""
    folder.mkdir()
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (examples, side, side, 3))
    labels, index = np.arange(examples) % 10, np.arange(examples)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "index.npy", index)
    large, rows = images.nbytes > stores._READ_AGAIN, np.repeat(hashes_of(images[:1]), examples)
    np.save(folder / "rows.npy", rows)
    meta = {
        "name": "holes",
        "examples": examples,
        "side": side,
        "classes": list("0123456789"),
        # Opening a small one reads its pixels again and compares; of a large one an earlier opening left checksums.
        "fingerprint": "holes" if large else stores._sha256(images, labels, index),
        "rows": stores._sha256(rows),
        "labels_sha256": stores._sha256(labels, index),
        "converted": 0,
        "skipped": [],
        "uniform": [],
    }
    write_json(folder / "meta.json", meta | {"sha256": digest(meta)})
    return folder


def used(size: int, batch: int, views: dict, *stores: Path | str) -> list[tuple[bool, float]]:
    """Store by store, whether the loader read ahead, and the greatest RssAnon until then in MB.

    One process trains on them in turn, the smallest first: what a larger one needs beyond it shows as growth.
    """
    arguments = [sys.executable, "-c", CODE, str(size), str(batch), json.dumps(views), *map(str, stores)]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}  # how many arenas threads open is chance
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    told = [line.split() for line in done.stdout.splitlines()]
    return [(ahead == "True", float(largest)) for ahead, largest in told]


def test_memory_does_not_grow_with_the_number_of_small_images(tmp_path):
    few, many = (made_store(tmp_path / str(count), count, 28) for count in (10_000, 60_000))
    (_, expected), (_, found), (_, whole) = used(28, 64, {"crop_padding": 2}, few, many, f"read whole: {many}")
    assert found - expected < LIMIT
    assert whole - expected > LIMIT, "the measure sees a store that is read whole"


def test_memory_does_not_grow_with_the_number_of_large_images(tmp_path):
    views = {"random_resized_crop": {"scale": [0.2, 1.0], "ratio": [0.75, 1.3333]}, "mixup": 0.2}
    few, many = (made_store(tmp_path / str(count), count, 224) for count in (500, 100_000))
    assert sum(file.stat().st_blocks for file in many.iterdir()) * 512 < 10_000_000  # it is sparse
    (_, expected), (ahead, found) = used(64, 16, views, few, many)
    assert ahead and found - expected < LIMIT
