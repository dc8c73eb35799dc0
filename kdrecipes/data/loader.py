"""The loader: batches of some examples, any batch of any epoch at random access, vectorised over the batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from kdrecipes.backend import current_device, keras
from kdrecipes.data import views as view_functions
from kdrecipes.data.example_weights import batch_weights
from kdrecipes.data.examples import Stored, ViewSettings, read, shown
from kdrecipes.data.splits import Split
from kdrecipes.hashing import hash64

NOTHING: Mapping[str, Any] = MappingProxyType({})
_DROPOUT = 0x64726F70  # the stream of hashes that seeds dropout
# Stores of so many mapped bytes are read ahead, so many batches: the system may not hold their pages, and a disk's
# answer can be waited for while a network trains. A smaller store is in memory soon, and a batch of it is read in less
# time than a thread takes to start.
_AHEAD_FROM, _AHEAD = 1_000_000_000, 3

TeacherOutputs = Callable[[int, np.ndarray], np.ndarray]  # pass, positions → logits (batch, classes)


@dataclass(frozen=True)
class Unlabelled:
    """Images that a loader mixes into its batches, and that no label is known of.

    Attributes:
        splits: they stand one after the other, behind the loader's own examples.
        take: so many of them are in each batch.
    """

    splits: Sequence[Split]
    take: int

    def __len__(self) -> int:
        return sum(len(split) for split in self.splits)


@dataclass(frozen=True)
class Part:
    """Some of a batch's examples: positions in one split, in one pass over it.

    `first` is added to a position where all examples of the loader are counted.
    """

    split: Split
    chosen: np.ndarray
    number: int
    first: int


class _Stream:
    """Some examples over and over, each pass in an order of its own: a pure function of (seed, pass).

    Args:
        examples: how many there are.
        take: so many to a batch.
        seed: of the order; None keeps it.
        drop_last: a pass leaves out what fills no whole batch; but one batch may be longer than a pass.
    """

    def __init__(self, examples: int, take: int, seed: Sequence[int] | None, drop_last: bool):
        self.examples, self.take, self.seed = examples, take, seed
        self.batches = examples // take if drop_last else -(-examples // take)  # in a pass
        self._order: tuple[int, np.ndarray] | None = None

    def order(self, number: int) -> np.ndarray:
        """Positions in the order of a pass."""
        if self.seed is None:
            return np.arange(self.examples, dtype=np.int64)
        if self._order is None or self._order[0] != number:
            self._order = (number, np.random.default_rng([*self.seed, number]).permutation(self.examples))
        return self._order[1]

    def chosen(self, batch: int) -> Iterator[tuple[int, np.ndarray]]:
        """The passes that a batch, counted over all passes, takes from, and the positions."""
        if self.batches:
            number, place = divmod(batch, self.batches)
            yield number, self.order(number)[place * self.take : (place + 1) * self.take]
            return
        begin, end = batch * self.take, (batch + 1) * self.take
        while begin < end:
            number, place = divmod(begin, self.examples)
            taken = self.order(number)[place : place + end - begin]
            yield number, taken
            begin += len(taken)


class Loader(keras.utils.PyDataset):
    """Batches `(x, y)` or `(x, y, sample_weight)` for `fit`, `evaluate` and `predict`.

    `x` is `{"image": float32 (batch, size, size, 3) 0–255, "index": int64 (batch,)}`, `index` being the position in the
    split, or behind it among the images without labels; with `teachers` their logits, `"teacher"`: {name: (batch,
    classes)}; with `teacher_sizes` the same views at those sizes, `"teacher_image"`: {name: images}. `y` is int64
    (batch,), or where views mix examples float32 (batch, classes); an image without a label has -1, or a row of zeros;
    a split without labels gives `(x,)`. On CUDA they lie on the GPU.

    `loader[i]` is batch `i` of epoch `loader.epoch`, which `EpochSetter` keeps in step with `fit`. Nothing is drawn
    from a global generator; so `fit` must be told `shuffle=False`, without which Keras orders the batches by Python's.

    Views are drawn by the number of the pass over the split: the epoch's, unless `steps` says otherwise.

    Args:
        split: the examples.
        batch_size: examples per batch.
        size: pixels per side.
        settings: the views; None shows every image whole, as evaluation does.
        order_seed: shuffles by (seed, pass); None keeps the split's order.
        drop_last: leave an incomplete last batch out.
        class_weight: float (classes,), the weight of each class's examples; mixed ones weigh what their labels do, and
            those without a label 1.
        weighted: give each example the weight that its dataset says, times its class's, where one of its splits says
            weights: for training, since measuring counts all alike.
        teachers: by a teacher's name, its logits by pass and positions; of those not asked live.
        teacher_sizes: by a teacher's name, pixels per side that it is shown; of those that are asked.
        unlabelled: images without labels that take a part of each batch; with `steps` and `drop_last`.
        steps: batches in an epoch; the split is passed over as often as that takes. Default: one pass.

    Attributes:
        passed: so many batches from the first are given as nothing, in no time: of an epoch that goes on, those done.
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
        weighted: bool = False,
        teachers: Mapping[str, TeacherOutputs] = NOTHING,
        teacher_sizes: Mapping[str, int] = NOTHING,
        unlabelled: Unlabelled | None = None,
        steps: int | None = None,
    ):
        super().__init__()
        self.teachers, self.teacher_sizes = teachers, {n: its for n, its in teacher_sizes.items() if its != size}
        self.split, self.batch_size, self.size = split, batch_size, size
        self.settings, self.order_seed = settings, order_seed
        self.drop_last, self.class_weight = drop_last, class_weight
        self.unlabelled = unlabelled
        splits = (split, *(unlabelled.splits if unlabelled else ()))
        self.weighted = weighted and any(one.weighted for one in splits)
        seed = None if order_seed is None else [order_seed]
        self._own = _Stream(len(split), batch_size - (unlabelled.take if unlabelled else 0), seed, drop_last)
        # A seed that is longer by one number gives another order.
        self._others = (
            _Stream(len(unlabelled), unlabelled.take, None if seed is None else [*seed, 1], drop_last)
            if unlabelled
            else None
        )
        self._steps = self._own.batches if steps is None else steps
        self.epoch = self.passed = 0
        self.read_ahead = any(
            isinstance(one.store.images, np.memmap) and one.store.images.nbytes >= _AHEAD_FROM for one in splits
        )
        self._coming: deque[_Reading] = deque()

    def __len__(self) -> int:
        return self._steps

    def order(self) -> np.ndarray:
        """Positions in the split, in the order of the pass that the epoch begins with."""
        return self._own.order(self.epoch * self._steps // max(self._own.batches, 1))

    def __getitem__(self, batch: int) -> tuple:
        if not 0 <= batch < len(self):
            raise IndexError(f"batch {batch} of {len(self)}")
        if batch < self.passed:
            return ((),)
        move = partial(view_functions.to_device, device=current_device())
        parts = self.parts(batch)
        stored = self._stored(batch, parts)
        image, y = _together([shown(one, self.size) for one in stored])
        index = [part.chosen + part.first for part in parts]
        x: dict[str, Any] = {"image": image, "index": move(torch.from_numpy(np.concatenate(index)))}
        if self.teacher_sizes:
            sizes = self.teacher_sizes.items()
            x["teacher_image"] = {name: _together([shown(one, size) for one in stored])[0] for name, size in sizes}
        if self.teachers:
            x["teacher"] = {name: move(_said(outputs, parts)) for name, outputs in self.teachers.items()}
        weights = batch_weights(stored, y, self.class_weight, self.weighted)
        if not self.split.labelled:
            return (x,) if weights is None else (x, None, move(weights))
        return (x, move(y)) if weights is None else (x, move(y), move(weights))

    def on_epoch_end(self) -> None:
        """Called by Keras after an epoch, and after the look at the data that `fit` takes before the first."""
        self._coming.clear()

    def parts(self, batch: int) -> list[Part]:
        """What a batch of the epoch holds: those with labels first, and each one's pass, which its view is drawn by."""
        number = self.epoch * self._steps + batch
        parts = [Part(self.split, chosen, passed, 0) for passed, chosen in self._own.chosen(number)]
        if self._others is None or self.unlabelled is None:
            return parts
        for passed, chosen in self._others.chosen(number):
            first = 0
            for split in self.unlabelled.splits:
                inside = chosen[(chosen >= first) & (chosen < first + len(split))] - first
                if len(inside):
                    parts.append(Part(split, inside, passed, len(self.split) + first))
                first += len(split)
        return parts

    def _stored(self, batch: int, parts: list[Part]) -> list[Stored]:
        """A batch's examples; those of the next batches are being read meanwhile, where that is of use."""
        epoch, coming = self.epoch, self._coming
        if not self.read_ahead:
            return _read(parts, self.settings)
        while coming and coming[0].batch != (epoch, batch):  # of another epoch, or passed over
            coming.popleft()
        for i in range(batch + len(coming), min(batch + 1 + _AHEAD, len(self))):
            # The parts before the thread begins: the epoch may be another by then.
            coming.append(_Reading((epoch, i), partial(_read, self.parts(i), self.settings)))
        return coming.popleft().result()


def _together(shown_parts: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of a batch's parts, one after the other."""
    if len(shown_parts) == 1:
        return shown_parts[0]
    return torch.cat([image for image, _ in shown_parts]), torch.cat([labels for _, labels in shown_parts])


def _said(outputs: TeacherOutputs, parts: list[Part]) -> torch.Tensor:
    """A teacher's logits (batch, classes) on a batch's parts."""
    return torch.from_numpy(np.concatenate([outputs(part.number, part.chosen + part.first) for part in parts]))


def _read(parts: list[Part], settings: ViewSettings | None) -> list[Stored]:
    return [read(part.split, part.chosen, settings, part.number) for part in parts]


class _Reading(threading.Thread):
    """Reads one batch and ends: so there is nothing to stop when a fit ends early, however it ends.

    Args:
        batch: epoch and number, to know it by.
        read: reads it.
    """

    def __init__(self, batch: tuple[int, int], read: Callable[[], list[Stored]]):
        super().__init__(name=f"kdrecipes reads batch {batch}", daemon=True)
        self.batch, self._read = batch, read
        self._stored: list[Stored] | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """What the thread does."""
        try:
            self._stored = self._read()
        except BaseException as error:
            self._error = error

    def result(self) -> list[Stored]:
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
