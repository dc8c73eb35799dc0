"""The loader: batches of one split, any batch of any epoch at random access, vectorised over the batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from kdrecipes.backend import current_device, keras
from kdrecipes.data import views as view_functions
from kdrecipes.data.store import Store
from kdrecipes.hashing import hash64
from kdrecipes.recipe.tables import ViewsTable

NOTHING: Mapping[str, Any] = MappingProxyType({})
_DROPOUT = 0x64726F70  # the stream of hashes that seeds dropout
# Stores of so many mapped bytes are read ahead, so many batches: the system may not hold their pages, and a disk's
# answer can be waited for while a network trains. A smaller store is in memory soon, and a batch of it is read in less
# time than a thread takes to start.
_AHEAD_FROM, _AHEAD = 1_000_000_000, 3


@dataclass(frozen=True)
class Split:
    """Some examples of a store.

    Attributes:
        store: the store.
        positions: int64 rows of the store, in the split's order.
        labelled: False where the store's labels say nothing.
    """

    store: Store
    positions: np.ndarray
    labelled: bool = True

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
    """What the views are drawn from besides the epoch and the examples: `[dataset.views]` and the recipe's seed."""

    views: ViewsTable | None = None
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
        Images, float32 (batch, size, size, 3), 0–255, on Keras' current device where that is CUDA; and labels: int64
        (batch,), or where views mix examples float32 (batch, classes), rows that sum to 1.
    """
    return _shown(_read(split, chosen, settings, epoch), size)


@dataclass(frozen=True)
class _Stored:
    """Examples as they stand in the store, and what is to be done to them.

    Where they are mixed, their partners follow them, in the same order; `shares` (batch,) is the examples' own part.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: int
    parameters: view_functions.Parameters | None
    shares: np.ndarray | None


def _read(split: Split, chosen: np.ndarray, settings: ViewSettings | None, epoch: int) -> _Stored:
    """Everything that waits for a disk, and nothing that draws on torch: so it can be done in a thread."""
    store, rows = split.store, split.positions[chosen]
    views = settings.views if settings else None
    parameters = shares = None
    if views and settings:
        if views.mixup:
            partner, shares = view_functions.draw_mix(views.mixup, settings.seed, epoch, store.index[rows], len(split))
            rows = np.concatenate([rows, split.positions[partner]])
        parameters = view_functions.draw(views, settings.seed, epoch, store.index[rows], store.images.shape[1])
    return _Stored(store.images[rows], store.labels[rows], len(store.classes), parameters, shares)


def _shown(stored: _Stored, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    device = current_device()
    image = view_functions.apply(stored.images, stored.parameters, size, device)
    labels = torch.from_numpy(stored.labels)
    if stored.shares is None:
        return image, labels
    share = torch.from_numpy(stored.shares.astype(np.float32))
    (image, others), (labels, other_labels) = image.chunk(2), F.one_hot(labels, stored.classes).float().chunk(2)
    image.lerp_(others, view_functions.to_device(1 - share, device)[:, None, None, None])
    return image, labels.lerp(other_labels, (1 - share)[:, None])


class Loader(keras.utils.PyDataset):
    """Batches `(x, y)` or `(x, y, sample_weight)` for `fit`, `evaluate` and `predict`.

    `x` is `{"image": float32 (batch, size, size, 3) 0–255, "index": int64 (batch,)}`, `index` being the position in the
    split; with `teachers` their logits, `"teacher"`: {name: (batch, classes)}; with `teacher_sizes` the same views at
    those sizes, `"teacher_image"`: {name: images}. `y` is int64 (batch,), or where views mix examples float32 (batch,
    classes); a split without labels gives `(x,)`. On CUDA they lie on the GPU.

    `loader[i]` is batch `i` of epoch `loader.epoch`, which `EpochSetter` keeps in step with `fit`. Nothing is drawn
    from a global generator; so `fit` must be told `shuffle=False`, without which Keras orders the batches by Python's.

    Args:
        split: the examples.
        batch_size: examples per batch.
        size: pixels per side.
        settings: the views; None shows every image whole, as evaluation does.
        order_seed: shuffles by (seed, epoch); None keeps the split's order.
        drop_last: leave an incomplete last batch out.
        class_weight: float (classes,), the weight of each class's examples; mixed ones weigh what their labels do.
        teachers: by a teacher's name, its logits by epoch and positions in the split; of those not asked live.
        teacher_sizes: by a teacher's name, pixels per side that it is shown; of those that are asked.
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
        teachers: Mapping[str, TeacherOutputs] = NOTHING,
        teacher_sizes: Mapping[str, int] = NOTHING,
    ):
        super().__init__()
        self.teachers, self.teacher_sizes = teachers, {n: its for n, its in teacher_sizes.items() if its != size}
        self.split, self.batch_size, self.size = split, batch_size, size
        self.settings, self.order_seed = settings, order_seed
        self.drop_last, self.class_weight = drop_last, class_weight
        self.epoch = 0
        self.read_ahead = isinstance(split.store.images, np.memmap) and split.store.images.nbytes >= _AHEAD_FROM
        self._order: tuple[int, np.ndarray] | None = None
        self._coming: deque[_Reading] = deque()

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
        chosen, move = self._chosen(batch), partial(view_functions.to_device, device=current_device())
        stored = self._stored(batch)
        image, y = _shown(stored, self.size)
        x: dict[str, Any] = {"image": image, "index": move(torch.from_numpy(chosen.copy()))}
        if self.teacher_sizes:
            x["teacher_image"] = {name: _shown(stored, size)[0] for name, size in self.teacher_sizes.items()}
        if self.teachers:
            said = {name: outputs(self.epoch, chosen) for name, outputs in self.teachers.items()}
            x["teacher"] = {name: move(torch.from_numpy(logits)) for name, logits in said.items()}
        if not self.split.labelled:
            return (x,)
        if self.class_weight is None:
            return x, move(y)
        weight = torch.from_numpy(self.class_weight)
        return x, move(y), move((weight[y] if y.ndim == 1 else y.to(weight.dtype) @ weight).float())

    def on_epoch_end(self) -> None:
        """Called by Keras after an epoch, and after the look at the data that `fit` takes before the first."""
        self._coming.clear()

    def _chosen(self, batch: int) -> np.ndarray:
        return self.order()[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _stored(self, batch: int) -> _Stored:
        """A batch's examples; those of the next batches are being read meanwhile, where that is of use."""
        epoch, coming = self.epoch, self._coming
        if not self.read_ahead:
            return _read(self.split, self._chosen(batch), self.settings, epoch)
        while coming and coming[0].batch != (epoch, batch):  # of another epoch, or passed over
            coming.popleft()
        for i in range(batch + len(coming), min(batch + 1 + _AHEAD, len(self))):
            coming.append(_Reading((epoch, i), partial(_read, self.split, self._chosen(i), self.settings, epoch)))
        return coming.popleft().result()


class _Reading(threading.Thread):
    """Reads one batch and ends: so there is nothing to stop when a fit ends early, however it ends.

    Args:
        batch: epoch and number, to know it by.
        read: reads it.
    """

    def __init__(self, batch: tuple[int, int], read: Callable[[], _Stored]):
        super().__init__(name=f"kdrecipes reads batch {batch}", daemon=True)
        self.batch, self._read = batch, read
        self._stored: _Stored | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """What the thread does."""
        try:
            self._stored = self._read()
        except BaseException as error:
            self._error = error

    def result(self) -> _Stored:
        """The batch, as soon as it is there; or the error that it met."""
        self.join()
        if self._stored is None:
            raise self._error or RuntimeError("a batch was not read")
        return self._stored


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
