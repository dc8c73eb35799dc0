"""What the trackers share: a run's history is followed epoch by epoch, and a run that goes on logs no epoch twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kdrecipes.disk.files import write_json

Json = dict[str, Any]
Figures = dict[str, float]
_NO_FIGURES = ("arm", "seed", "teacher", "epoch")


class Log(Protocol):
    """An open log of one run, in a service or in files."""

    id: str
    """What opens the same log again."""

    def epochs(self, label: str, rows: list[tuple[int, Figures]]) -> None:
        """Log epochs, from 1, of "teacher" or of an arm such as "kd-0", with the figures of each; at once."""

    def end(self, report: Json | None, folder: Path) -> None:
        """Log what the run found, and close; `report` is None where the run did not reach its end."""


@dataclass(frozen=True)
class Start:
    """How a log is opened.

    Attributes:
        folder: the run folder; its name is the log's.
        recipe: the resolved recipe.
        id: of the log that an earlier process opened for this run; empty where there was none.
    """

    folder: Path
    recipe: Json
    id: str


@dataclass
class Ledger:
    """What of a run is logged: which log, and of each label how many epochs. It lies in the run folder."""

    file: Path
    id: str = ""
    epochs: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, name: str, destination: str) -> Ledger:
        """That of one tracker; another destination has another one, and is told everything."""
        digest = hashlib.sha256(destination.encode()).hexdigest()[:8]
        ledger = cls(folder / "trackers" / f"{name}-{digest}.json")
        if ledger.file.is_file():
            found = json.loads(ledger.file.read_text(encoding="utf-8"))
            ledger.id, ledger.epochs = found["id"], found["epochs"]
        return ledger

    def keep(self) -> None:
        """Write it down."""
        write_json(self.file, {"id": self.id, "epochs": self.epochs})


def follow(name: str, destination: Callable[[], str], open_log: Callable[[Start], Log]) -> Any:
    """A tracker's callback, which logs what `history.jsonl` has and the log has not.

    Args:
        name: the tracker's.
        destination: says where it logs to, so that a run that goes on can tell whether that is where it logged.
        open_log: opens the log.

    Returns:
        A `keras.callbacks.Callback` with `on_run_begin(recipe, folder)` and `on_run_end(report, folder)`.
    """
    import keras

    class Follower(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
        def on_run_begin(self, recipe: Json, folder: Path) -> None:
            self.recipe, self.folder = recipe, folder
            self.log: Log | None = None
            self.catch_up()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.catch_up()  # an epoch is in the history once it can't be done again

        def on_train_end(self, logs: Any = None) -> None:
            self.catch_up()

        def on_run_end(self, report: Json | None, folder: Path) -> None:
            self.catch_up()
            assert self.log is not None
            self.log.end(report, folder)

        def catch_up(self) -> None:
            if self.log is None:
                self.ledger = Ledger.of(self.folder, name, destination())
                self.log = open_log(Start(self.folder, self.recipe, self.ledger.id))
                self.ledger.id = self.log.id
                self.ledger.keep()
            for label, rows in history(self.folder).items():
                if more := [row for row in rows if row[0] > self.ledger.epochs.get(label, 0)]:
                    self.log.epochs(label, more)
                    self.ledger.epochs[label] = more[-1][0]
                    self.ledger.keep()

    return Follower()


def history(folder: Path) -> dict[str, list[tuple[int, Figures]]]:
    """The epochs that `history.jsonl` of a run folder has.

    Returns:
        By label, "teacher", of several "teacher-<id>", or an arm's such as "kd-0": each epoch, from 1, and its figures,
        in order. Empty where there is no history yet.
    """
    found: dict[str, list[tuple[int, Figures]]] = {}
    file = folder / "history.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        row = json.loads(line)
        figures = {key: value for key, value in row.items() if key not in _NO_FIGURES}
        found.setdefault(label_of(row), []).append((row["epoch"], figures))
    return found


def label_of(row: Mapping[str, Any]) -> str:
    """What a tracker calls the network that a row of the history or an entry of the report is of."""
    if row["arm"] != "teacher":
        return f"{row['arm']}-{row['seed']}"
    return f"teacher-{row['teacher']}" if "teacher" in row else "teacher"
