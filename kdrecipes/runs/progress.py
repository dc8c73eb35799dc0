"""What a person sees while a run works, on stderr and in log.txt: bars on a terminal, else a line per epoch."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from kdrecipes.backend import keras
from kdrecipes.runs.clock import Clock
from kdrecipes.runs.curves import chart, curves_of, room
from kdrecipes.secret_values import without_secrets
from kdrecipes.wording import harmless, readable_bytes, readable_seconds

_LARGE_STORE = 1_000_000_000  # bytes: told before it is filled
ESTIMATE_AFTER = 20  # steps of the first fit

# The least level that reaches stderr; log.txt has them all.
LEAST = {"quiet": logging.WARNING, "normal": logging.INFO, "verbose": logging.DEBUG}
_least = LEAST["normal"]


@contextmanager
def showing(amount: str) -> Iterator[None]:
    """While the block runs, stderr gets so much of what runs tell: "quiet", "normal" or "verbose"."""
    global _least
    before, _least = _least, LEAST[amount]
    try:
        yield
    finally:
        _least = before


@dataclass
class PlannedFit:
    """One fit that the run will do, the computing of a teacher's outputs, or the tests at the end.

    `cost`: seconds of one rehearsed step. `also`: rehearsed seconds beside its steps, such as of validation.
    """

    label: str
    steps: int
    cost: float
    also: float = 0.0


_COLOURS = {"baseline": "yellow", "kd": "cyan"}  # told apart by whoever sees no red or no green


class _Chart:
    """The curves below the bars. They are drawn anew only after an epoch, or where the terminal has another size."""

    def __init__(self) -> None:
        self.rows: Sequence[Mapping[str, Any]] = ()
        self.epochs = 1
        self._drawn: tuple[Any, Any, Text] = (None, None, Text())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        fits, rows = room(console.width, console.height), self.rows
        if self._drawn[0] != fits or self._drawn[1] is not rows:
            curves = curves_of(rows)
            text = Text(no_wrap=True)
            for line in chart(curves, self.epochs, *fits) if fits and curves else ():
                for part, arm in line:
                    text.append(part, _COLOURS.get(arm))
                text.append("\n")
            text.rstrip()
            self._drawn = (fits, rows, text)
        yield self._drawn[2]


class _BarsAndChart(Bars):
    chart: _Chart | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.chart:
            yield self.chart


class Progress:
    """Shows preparation, fits and notes.

    Args:
        log: a file that gets every line too; None for none.
        clock: the run's; None: it begins now.
        quiet: whether only the log gets the lines.
    """

    def __init__(self, log: Path | None = None, clock: Clock | None = None, *, quiet: bool = False):
        self.clock = clock or Clock()
        self.clock.ended = lambda part: self.detail(f"{part.part} {part.of}".rstrip() + f": {part.seconds:.3f} s")
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
        self.log = log
        self.bars: _BarsAndChart | None = None
        self.plan: list[PlannedFit] = []
        self.estimated = False
        self._tasks: dict[str, Any] = {}
        self._taught: dict[str, list[tuple[float, int]]] = {}
        self.prepared: set[str] = set()
        self.continued: set[str] = set()

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        """While the block runs, bars are drawn, if stderr is a terminal and nobody asked for quiet."""
        if not self.console.is_terminal or _least > logging.INFO:
            yield self
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
        )
        with _BarsAndChart(*columns, console=self.console, transient=True) as self.bars:
            if self._draws():
                self.bars.chart = _Chart()
            yield self
        self.bars = None

    def _draws(self) -> bool:
        """Whether somebody looks at the terminal who sees curves there: a log of CI keeps every frame."""
        braille = self.console.encoding.lower().startswith("utf")
        return braille and not self.console.is_dumb_terminal and not os.environ.get("CI")

    def curves(self, rows: Sequence[Mapping[str, Any]], epochs: int) -> None:
        """After an epoch: the history so far, and how many epochs an arm has."""
        if self.bars and self.bars.chart:
            self.bars.chart.epochs, self.bars.chart.rows = epochs, list(rows)

    def note(self, text: str) -> None:
        """One line for the user; one that begins with "Warning: " is shown where others are not."""
        self._tell(text, logging.WARNING if text.startswith("Warning: ") else logging.INFO)

    def detail(self, text: str) -> None:
        """One line for whoever asked for all of them."""
        self._tell(text, logging.DEBUG)

    def _tell(self, text: str, level: int) -> None:
        if level >= _least:
            shown = harmless(without_secrets(text))
            with suppress(OSError):  # of a script: a terminal that is gone, or a full disk, must not end its run
                (self.bars.console if self.bars else self.console).print(shown, markup=False)
        self.record(text, level)

    def record(self, text: str, level: int = logging.INFO) -> None:
        """Into the log only, with time and level; a log that can't be written stops nothing."""
        if self.log:
            stamp = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {logging.getLevelName(level):<7}"
            with suppress(OSError), self.log.open("a", encoding="utf-8") as file:
                file.write(f"{stamp}  {harmless(without_secrets(text))}\n")

    def preparing(self, name: str, done: int, total: int, size: int, unreadable: int) -> None:
        """A store grows to `size` bytes; first called before it does. Of those done `unreadable` are not in it.

        With 0 bytes it is there, and is read whole because it lacks checksums of its images: minutes for a large one.
        """
        if size == 0:
            if done == 0:
                self.note(f"checking the store of {name}, which lacks checksums of its images: {total:,} to read")
            self._bar(f"checking {name}", done, total)
            return
        if name not in self.prepared:
            self.prepared.add(name)
            if size >= _LARGE_STORE:
                self.note(f"preparing {name}: {total - done:,} images to decode, {readable_bytes(size)} on disk")
        self._bar(f"preparing {name}", done, total)
        if done >= total:
            self.note(
                f"prepared {name}: {total - unreadable:,} images"
                + (f"; {unreadable:,} more can't be read" if unreadable else "")
            )

    def teaching(self, label: str, done: int, total: int) -> None:
        """A teacher's outputs are computed, counted in views; first called before the first of them.

        Args:
            label: that of its `PlannedFit`, "teacher outputs".
            done, total: views.
        """
        self._bar(label, done, total)
        taught = self._taught.setdefault(label, [])
        if not taught and not self.bars:
            self.note(f"{label}: computing {total - done:,} views")
        taught.append((time.monotonic(), done))
        planned = [fit for fit in self.plan if fit.label == label]
        if len(taught) == ESTIMATE_AFTER and planned:
            began, before = taught[1]  # the first batch pays for what is built lazily
            views = total / planned[0].steps
            self.estimate(label, (time.monotonic() - began) / (done - before) * views, round(done / views))

    def _bar(self, text: str, done: int, total: int) -> None:
        if not self.bars:
            return
        if text not in self._tasks:
            self._tasks[text] = self.bars.add_task(text, total=total, figures="")
        self.bars.update(self._tasks[text], completed=done)
        if done >= total:
            self.bars.remove_task(self._tasks.pop(text))

    def watch(self, label: str, epochs: int) -> Any:
        """For `training.fit.fit`: makes the callback that shows one fit."""

        def watcher(done: int, steps: int) -> _FitWatcher:
            if done:
                self.continued.add(label)
            return _FitWatcher(self, label, epochs, done, steps)

        return watcher

    def estimate(self, label: str, seconds_per_step: float, done: int = 0) -> None:
        """Tell, once, how long the run will take in all: what it took so far, and what is planned.

        The first fit's measured step says how much slower steps are than they were on black images.

        Args:
            label: the first fit's.
            seconds_per_step: measured in it.
            done: steps of it that are done, by an earlier run too.
        """
        first = next((i for i, fit in enumerate(self.plan) if fit.label == label), None)
        if self.estimated or first is None:
            return
        self.estimated = True
        # Fits before the first one that runs were done by an earlier run.
        now = self.plan[first]
        cost = sum(fit.steps * fit.cost + fit.also for fit in self.plan[first:]) - done * now.cost
        total = self.clock.seconds + cost / now.cost * seconds_per_step
        self.note(
            f"the run will take about {readable_seconds(total)} in all, from its data to its tests "
            f"({seconds_per_step:.2f} s a step here)"
        )


class _FitWatcher(keras.callbacks.Callback):
    def __init__(self, progress: Progress, label: str, epochs: int, done: int, steps: int):
        super().__init__()
        self.progress, self.label, self.epochs, self.steps_per_epoch = progress, label, epochs, steps
        self.seen, self.first = 0, 0.0
        self.task: Any = None
        self.done = done

    def on_train_begin(self, logs: Any = None) -> None:
        if self.progress.bars:
            total = self.epochs * self.steps_per_epoch
            self.task = self.progress.bars.add_task(self.label, total=total, completed=self.done, figures="")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.monotonic()
        if self.progress.bars and self.task is not None:
            self.progress.bars.update(self.task, figures=f"epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen += 1
        if self.seen == 2:  # the first step pays for what is built lazily
            self.first = time.monotonic()
        if self.seen == ESTIMATE_AFTER:
            step = (time.monotonic() - self.first) / (ESTIMATE_AFTER - 2)
            self.progress.estimate(self.label, step, self.done + self.seen)
        if self.progress.bars and self.task is not None:
            self.progress.bars.update(self.task, advance=1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        figures = "  ".join(
            f"{name} {float(value):.4f}"
            for name, value in (logs or {}).items()
            if name in ("loss", "val_loss", "val_accuracy")
        )
        seconds = readable_seconds(time.monotonic() - self.started)
        self.progress.note(f"{self.label}  epoch {epoch + 1}/{self.epochs}  {figures}  {seconds}")

    def on_train_end(self, logs: Any = None) -> None:
        if self.progress.bars and self.task is not None:
            self.progress.bars.remove_task(self.task)
