"""What the built-in sources share: one array as a source, a missing split's error, what tells that files changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.errors import RunError

if TYPE_CHECKING:
    import numpy as np

SPLIT_OPTION = {"description": "The split's bare name; the run sets it"}  # what each dataset says of `split`


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


def no_weight(value: object) -> str:
    """What is said of a weight that is none, in every dataset."""
    return f"the weight {value!r:.60} is no finite number of 0 or more"


def missing_split(split: str, have: Iterable[str]) -> RunError:
    """The error for a split that a dataset lacks, with what to write instead."""
    names = list(have)
    text = f"the dataset has no split {split!r}; it has {', '.join(map(repr, names)) or 'none'}"
    if split == "validation" and "train" in names:
        text += ". `validation = 0.1` holds a tenth of train out for validation"
    if split == "test" and names == ["train"]:
        text += '. `train = "train[:80%]"` and `test = "train[80%:]"` cut a fifth of train off for the test'
    return RunError(text)


def file_facts(files: Sequence[Path], root: Path) -> list[tuple[str, int, int]]:
    """What tells that a file changed without reading it: (name relative to `root`, bytes, modification time in ns)."""
    stats = [(file, file.stat()) for file in files]
    return [(file.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns) for file, stat in stats]
