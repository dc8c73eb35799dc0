"""The loader: batches of one split, any batch of any epoch at random access, vectorised over the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from kdrecipes.backend import keras
from kdrecipes.data import views as view_functions
from kdrecipes.data.hashing import hash64
from kdrecipes.data.store import Store

_DROPOUT = 0x64726F70  # the stream of hashes that seeds dropout


@dataclass(frozen=True)
class Split:
    """Some examples of a store. `positions`: int64 rows of the store, in the split's order."""

    store: Store
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def labels(self) -> np.ndarray:
        """int64 (examples,)."""
        return self.store.labels[self.positions]

    @property
    def index(self) -> np.ndarray:
        """int64 (examples,): each example's index in its base split, which its views are drawn from."""
        return self.store.index[self.positions]


@dataclass(frozen=True)
class ViewSettings:
    """What `views.draw` needs besides the epoch and the examples."""

    views: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


TeacherOutputs = Callable[[int, np.ndarray], np.ndarray]  # epoch, positions in the split → logits (batch, classes)


def show(
    split: Split, chosen: np.ndarray, size: int, settings: ViewSettings | None = None, epoch: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the networks see of some examples in an epoch: the one place where views are made.

    Args:
        split: the examples.
        chosen: int64 (batch,), positions in the split.
        size: pixels per side.
        settings: the views; None shows every image whole, as evaluation does.
        epoch: counted from 0.

    Returns:
        Images, float32 (batch, size, size, 3), 0–255, and labels, int64 (batch,).
    """
    rows = split.positions[chosen]
    images = split.store.images[rows]
    parameters = None
    if settings is not None and settings.views:
        index = split.store.index[rows]
        parameters = view_functions.draw(settings.views, settings.seed, epoch, index, images.shape[1])
    return view_functions.apply(images, parameters, size), torch.from_numpy(split.store.labels[rows])


class Loader(keras.utils.PyDataset):
    """Batches `(x, y)` or `(x, y, sample_weight)` for `fit`, `evaluate` and `predict`.

    `x` is `{"image": float32 (batch, size, size, 3) 0–255, "index": int64 (batch,)}`, `index` being the position in the
    split, and with `teacher` its logits, `"teacher"` (batch, classes); `y` is int64 (batch,). `loader[i]` is batch `i`
    of epoch `loader.epoch`, which `EpochSetter` keeps in step with `fit`. Nothing is drawn from a global generator; so
    `fit` must be told `shuffle=False`, without which Keras orders the batches by Python's.

    Args:
        split: the examples.
        batch_size: examples per batch.
        size: pixels per side.
        settings: the views; None shows every image whole, as evaluation does.
        order_seed: shuffles by (seed, epoch); None keeps the split's order.
        drop_last: leave an incomplete last batch out.
        class_weight: float (classes,), the weight of each class's examples.
        teacher: the teacher's logits by epoch and positions in the split; None where it is asked live.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        size: int,
        *,
        settings: ViewSettings | None = None,
        order_seed: int | None = None,
        drop_last: bool = False,
        class_weight: np.ndarray | None = None,
        teacher: TeacherOutputs | None = None,
    ):
        super().__init__()
        self.split, self.batch_size, self.size = split, batch_size, size
        self.settings, self.order_seed = settings, order_seed
        self.drop_last, self.class_weight, self.teacher = drop_last, class_weight, teacher
        self.epoch = 0
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        n = len(self.split)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def order(self) -> np.ndarray:
        """Positions in the split, in this epoch's order: a pure function of (order seed, epoch)."""
        if self.order_seed is None:
            return np.arange(len(self.split), dtype=np.int64)
        if self._order is None or self._order[0] != self.epoch:
            generator = np.random.default_rng([self.order_seed, self.epoch])
            self._order = (self.epoch, generator.permutation(len(self.split)))
        return self._order[1]

    def __getitem__(self, batch: int) -> tuple:
        if not 0 <= batch < len(self):
            raise IndexError(f"batch {batch} of {len(self)}")
        chosen = self.order()[batch * self.batch_size : (batch + 1) * self.batch_size]
        image, y = show(self.split, chosen, self.size, self.settings, self.epoch)
        x = {"image": image, "index": torch.from_numpy(chosen.copy())}
        if self.teacher is not None:
            x["teacher"] = torch.from_numpy(self.teacher(self.epoch, chosen))
        if self.class_weight is None:
            return x, y
        return x, y, torch.from_numpy(self.class_weight[y.numpy()].astype(np.float32))


class EpochSetter(keras.callbacks.Callback):
    """Tells a loader which epoch `fit` has begun, and seeds torch's global generator by (order seed, epoch).

    Dropout draws from that generator: so arms of one seed drop alike, and an epoch after a resume is the one it was.
    """

    def __init__(self, loader: Loader):
        super().__init__()
        self.loader = loader

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Called by `fit` before the epoch's first batch is asked for."""
        self.loader.epoch = epoch
        torch.manual_seed(int(hash64(np.array([epoch]), _DROPOUT, self.loader.order_seed or 0)[0]) >> 1)
