"""The run folder: one process at a time, one recipe, status and history always whole."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kdrecipes import keras_private
from kdrecipes.disk.files import disk_errors, locked, new_file, remove_entries, remove_unfinished, write_json
from kdrecipes.disk.json_files import parsed, read_json, write_sealed
from kdrecipes.disk.owners import refuse_foreign
from kdrecipes.disk.passing import new_passing_folder, passing_within
from kdrecipes.disk.summed_files import read_summed, write_summed
from kdrecipes.disk.writable import refuse_file, refuse_read_only
from kdrecipes.errors import KDRecipesError, Preempted, UsageError, one_line
from kdrecipes.recipe.effective import effective_toml
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.facts import ArmFacts, RecipeFacts, TeacherFacts, read_arms, read_teachers, write_facts
from kdrecipes.runs.changes import added_seeds, difference, lacks_labels, nothing_trained
from kdrecipes.runs.provenance import command, versions
from kdrecipes.runs.removed import refuse_removed
from kdrecipes.runs.resumed import given, resuming
from kdrecipes.secret_values import without_secrets
from kdrecipes.stopping import stoppable
from kdrecipes.training.finite import NotFinite
from kdrecipes.training.keeper import Row

# What a run writes, and all that --overwrite removes; lock.json, which makes the folder a run, goes last.
_ENTRIES = (
    "status.json",
    "recipe.toml",
    "recipe.json",
    "facts",
    "history.jsonl",
    "predictions.npz",
    "teachers",
    "students",
    "state",
    "report.json",
    "report.html",
    "MODEL_CARD.md",
    "figures",
    "export",
    "tensorboard",
    "wandb",
    "trackers",
    "log.txt",
    "lock.json",
)
STOPPED_AT = "stopped_at"  # in status.json: the step whose loss, gradient or weights were no numbers
_WAYS_ON = "Choose another folder with --out, or replace that run with --overwrite."


@dataclass
class RunFolder:
    """The files of one run.

    `status` and `rows` mirror status.json and history.jsonl; `teachers`, by id, and `arms`, by label, mirror
    facts/teachers.json and facts/arms.json. `outdated`: a version with other facts began the run, and none is read.
    `added`: seeds that this recipe has and the one that began the run has not. `replaced`: how the recipe differs from
    that of a run in which nothing was trained, and whose place it took.
    """

    path: Path
    status: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    teachers: dict[str, TeacherFacts] = field(default_factory=dict)
    arms: dict[str, ArmFacts] = field(default_factory=dict)
    outdated: bool = False
    added: list[int] = field(default_factory=list)
    replaced: str = ""

    def set_status(self, status: str, **more: Any) -> None:
        """Write status.json: running, done, failed or preempted."""
        self.status = {**self.status, **more, "status": status}
        write_json(self.path / "status.json", self.status)

    def keep_rows(self, arm: str, seed: int, rows: list[Row], teacher: str | None = None) -> None:
        """Put one arm's epochs into history.jsonl, in place of what it held of them; `teacher`: which of several."""
        refuse_removed(self.path)
        groups: dict[tuple[str, int, str | None], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row["arm"], row["seed"], row.get("teacher")), []).append(row)
        named = {} if teacher is None else {"teacher": teacher}
        groups[arm, seed, teacher] = [{"arm": arm, "seed": seed, **named, **row} for row in rows]
        self.rows = [row for group in groups.values() for row in group]
        write_summed(self.path / "history.jsonl", "".join(json.dumps(row, allow_nan=False) + "\n" for row in self.rows))

    def fine_tunes(self, teacher: str) -> None:
        """Write down that this run fine-tunes a teacher: it did so, even if it is killed when the teacher is done."""
        self.set_status("running", fine_tunes=sorted({*self._fine_tuned(), teacher}))

    def _fine_tuned(self) -> set[str]:
        told = self.status.get("fine_tunes")  # a stranger may have written it
        return {one for one in told if isinstance(one, str)} if isinstance(told, list) else set()

    def keep_teachers(self, teachers: Mapping[str, TeacherFacts]) -> None:
        """Write facts/teachers.json. A teacher that this very run fine-tuned before it stopped is not a reused one."""
        mine = self._fine_tuned() | {name for name, earlier in self.teachers.items() if not earlier.reused}
        self.teachers = {n: replace(one, reused=one.reused and n not in mine) for n, one in teachers.items()}
        write_facts(self.path, "teachers", self.teachers)

    def keep_arm(self, label: str, facts: ArmFacts) -> None:
        """Put a trained arm into facts/arms.json."""
        self.arms[label] = facts
        write_facts(self.path, "arms", self.arms)

    def student(self, label: str) -> Path:
        """Where a trained arm's student is saved."""
        return self.path / self.arms[label].student


@contextmanager
def open_run(
    recipe: Recipe, path: Path, overwrite: bool, check_added: Callable[[Recipe, Path], None] | None = None
) -> Iterator[RunFolder]:
    """The run folder, locked against other processes, with lock.json, recipe and status written.

    Args:
        recipe, path, overwrite: see `run`.
        check_added: is called before a run that is there is changed to one of more seeds, and may refuse it.

    Raises:
        UsageError: when the folder holds another recipe's run, or files that are no run.
        EnvironmentProblem: when it can't be written, another process runs in it, or it holds what another user owns.
    """
    refuse_file(path)
    refuse_foreign(path, "Choose another folder with --out.")
    with disk_errors(path, "Choose another folder with --out."):
        path.mkdir(parents=True, exist_ok=True)
        (path / ".lock").touch()
    refuse_read_only([path, *(path / name for name in _ENTRIES)], "Choose another folder with --out.")
    with locked(
        path / ".lock", f"Another process is running in {path}. Wait for it, or choose another folder with --out."
    ):
        added, replaced = _make_ready(recipe, path, overwrite, check_added)
        folder = _read_folder(path)
        folder.added, folder.replaced = added, replaced
        if folder.status.get("status") != "done":
            folder.set_status("running")
            write_facts(path, "recipe", _recipe_facts(recipe))
        try:
            in_folder = keras_private.temporary_folders(lambda: str(new_passing_folder()))
            with stoppable(resuming(path, given(recipe)["plugins"])), passing_within(path), in_folder:
                yield folder
        except BaseException as error:
            refuse_removed(path)
            if folder.status.get("status") != "done":
                stopped = isinstance(error, KeyboardInterrupt | Preempted)
                more: dict[str, Any] = {"error": without_secrets(str(error)) or type(error).__name__}
                if isinstance(error, NotFinite):  # for whoever runs that step again
                    more[STOPPED_AT] = {"fit": error.fit, "epoch": error.epoch, "step": error.step}
                with suppress(KDRecipesError, OSError):  # a full disk must not hide why the run ended
                    folder.set_status("preempted" if stopped else "failed", **more)
            raise


def _make_ready(
    recipe: Recipe, path: Path, overwrite: bool, check_added: Callable[[Recipe, Path], None] | None
) -> tuple[list[int], str]:
    """Make the folder this recipe's run.

    Returns:
        The seeds that it adds to the run that is there; and how it differs from one in which nothing was trained, and
        whose place it takes.
    """
    lock_file = path / "lock.json"
    earlier = (read_object(lock_file) if not overwrite else {}) if lock_file.is_file() else None
    others = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
    if earlier is None and others:
        raise UsageError(
            f"{path} holds files that are no run ({', '.join(others[:3])} …). Choose another folder with --out."
        )
    remove_unfinished(path, "*" if earlier is not None else "lock.json")  # it is a run, or was killed as one began
    added = added_seeds(earlier.get("recipe"), recipe.data) if earlier is not None and not overwrite else []
    replaced = ""
    same = earlier is not None and (
        earlier.get("recipe_sha256") == recipe.fingerprint or _is_shown(path, earlier.get("recipe"), recipe)
    )
    if earlier is not None and not overwrite and not added and not same:
        replaced = difference(earlier.get("recipe", {}), recipe.data)
        if not nothing_trained(path):
            raise UsageError(
                f"{path} holds the run of another recipe: {replaced}. "
                "Choose another folder with --out, or replace that run with --overwrite."
            )
    if earlier is not None and (overwrite or replaced):
        remove_entries(path, _ENTRIES)
        earlier = None
    if added and check_added:
        check_added(recipe, path)
    if added and (path / "status.json").is_file():  # before the lock: a run that is killed here is not a finished one
        write_json(path / "status.json", {**_read_status(path), "status": "running"})
    if earlier is None or added:
        facts = {
            "recipe_sha256": recipe.fingerprint,
            "recipe": recipe.data,
            "overrides": list(recipe.overrides),
            "folder": str(recipe.folder.resolve()),
            "command": command(),
            "versions": versions(recipe),
            "given": given(recipe),
        }
        write_sealed(lock_file, {**(earlier or {}), **facts})  # first: from here on the folder is a run
    copy = path / f"recipe{Path(recipe.source).suffix.lower() or '.toml'}"
    if earlier is None or added or not copy.is_file():  # a run that was killed just here has none
        with new_file(copy, "w") as file:
            file.write(recipe.text)
    return added, replaced


def _is_shown(path: Path, old: Any, recipe: Recipe) -> bool:
    """Whether the folder holds a finished run of this recipe with more seeds: its report is shown, nothing is lost."""
    if not isinstance(old, dict) or not added_seeds(recipe.data, old):
        return False
    return _read_status(path).get("status") == "done" and (path / "report.json").is_file()


def _recipe_facts(recipe: Recipe) -> RecipeFacts:
    """What a report says of the recipe and only the process that was given it knows."""
    return RecipeFacts(
        name=recipe.name,
        description=recipe.description,
        source=recipe.source,
        overrides=list(recipe.overrides),
        text=recipe.text,
        effective=effective_toml(recipe),
    )


def read_object(file: Path) -> Any:
    """A JSON object of a run, or a refusal of the folder."""
    try:
        value = read_json(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} can't be read ({one_line(error)}). {_WAYS_ON}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{file} is no file of a run. {_WAYS_ON}")
    return value


def _read_status(path: Path) -> dict[str, Any]:
    """What status.json says; nothing where it is missing or damaged, since the other files say what is done."""
    try:
        return dict(read_object(path / "status.json")) if (path / "status.json").is_file() else {}
    except UsageError:
        warnings.warn(f"{path / 'status.json'} is damaged; it is written anew.", stacklevel=2)
        return {}


def _read_folder(path: Path) -> RunFolder:
    status, rows = _read_status(path), []
    for told in ("error", STOPPED_AT):
        status.pop(told, None)
    history = path / "history.jsonl"
    if history.is_file():
        try:
            rows = [parsed(line) for line in read_summed(history).splitlines()]
            if not all(isinstance(row, dict) and row.keys() >= {"arm", "seed", "epoch", "loss"} for row in rows):
                raise ValueError("a line is no epoch")
        except (OSError, ValueError) as error:
            raise UsageError(f"{history} can't be read ({one_line(error)}). {_WAYS_ON}") from error
    # A finished run is only shown again: whatever another version wrote as its facts, its report is there.
    if status.get("status") == "done" and (path / "report.json").is_file():
        return RunFolder(path, status, rows)
    if status.pop("arms", None) is not None or lacks_labels(path):
        return RunFolder(path, status, rows, outdated=True)
    return RunFolder(path, status, rows, read_teachers(path), read_arms(path))


def keep_decision(folder: RunFolder, name: str, make: Callable[[], Any]) -> Any:
    """What the run decided about `name`: made once, kept in lock.json under "decisions", reread ever after.

    Args:
        folder: the run's.
        name: of the decision.
        make: makes it, a JSON-able value; not called when the run is continued.
    """
    decisions = read_object(folder.path / "lock.json").get("decisions", {})
    if name not in decisions:
        value = make()
        lock = read_object(folder.path / "lock.json")
        lock["decisions"] = {**lock.get("decisions", {}), name: value}
        write_sealed(folder.path / "lock.json", lock)
        return value
    return decisions[name]
