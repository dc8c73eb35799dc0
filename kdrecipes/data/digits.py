"""The digits that come with scikit-learn, and what the sources share: `ArraySource`, `missing_split`, `file_facts`.

1797 handwritten digits of 8×8 pixels: the data set that needs no download, for first runs and tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.errors import RunError
from kdrecipes.home import digest
from kdrecipes.hookspecs import Component

if TYPE_CHECKING:
    import numpy as np

TEST_EXAMPLES = 360  # of 1797: a fifth
SPLIT_OPTION = {"type": "string", "default": "train", "description": "the split's bare name; the run sets it"}


@dataclass
class ArraySource:
    """A source whose examples are one array in memory.

    Args:
        images: uint8 (examples, height, width, channels).
        labels: int64 (examples,).
        classes: name of each class.
        fingerprint: changes when the data change.
        origin: what an error names before the example's position, such as a file.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: list[str]
    fingerprint: str
    origin: str

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Example `index`: `image` uint8 (height, width, channels) and `label`, an int."""
        return {"image": self.images[index], "label": int(self.labels[index])}

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All examples at once: uint8 (examples, height, width, channels) and int64 (examples,)."""
        return self.images, self.labels

    def name_of(self, index: int) -> str:
        """How an error names the example."""
        return f"{self.origin}[{index}]"


def missing_split(split: str, have: Iterable[str]) -> RunError:
    """The error for a split that a dataset lacks, with what to write instead."""
    names = list(have)
    text = f"the dataset has no split {split!r}; it has {', '.join(map(repr, names)) or 'none'}"
    if split == "validation" and "train" in names:
        text += ". `validation = 0.1` holds a tenth of train out for validation"
    return RunError(text)


def file_facts(files: Sequence[Path], root: Path) -> list[tuple[str, int, int]]:
    """What tells that a file changed without reading it: (name relative to `root`, bytes, modification time in ns)."""
    stats = [(file, file.stat()) for file in files]
    return [(file.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns) for file, stat in stats]


def build(split: str = "train") -> ArraySource:
    """The digits' `train` (1437 examples) or `test` (360): the examples whose index has the 360 smallest hashes."""
    if split not in ("train", "test"):
        raise missing_split(split, ("train", "test"))
    import numpy as np
    import sklearn
    from sklearn.datasets import load_digits

    from kdrecipes.data.hashing import splitmix64

    data = load_digits()
    by_hash = np.argsort(splitmix64(np.arange(len(data.target))))
    chosen = np.sort(by_hash[:TEST_EXAMPLES] if split == "test" else by_hash[TEST_EXAMPLES:])
    images = np.round(data.images[chosen] * (255 / 16)).astype(np.uint8)[..., None]  # sklearn's values are 0 to 16
    labels = data.target[chosen].astype(np.int64)
    facts = digest("digits", sklearn.__version__, split)
    return ArraySource(images, labels, [str(digit) for digit in range(10)], facts, f"digits/{split}")


COMPONENT = Component(
    kind="dataset",
    name="digits",
    build=build,
    options={"type": "object", "additionalProperties": False, "properties": {"split": SPLIT_OPTION}},
    summary="1797 handwritten digits, 8×8 grey pixels, 10 classes; comes with scikit-learn, no download",
)
