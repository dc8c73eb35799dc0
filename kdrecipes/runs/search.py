"""A search for the best point: Optuna draws points, hears of every epoch, and says which to stop early."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from kdrecipes.disk.files import locked
from kdrecipes.errors import RecipeError, RunError
from kdrecipes.hashing import digest
from kdrecipes.recipe.sweep import Sweep
from kdrecipes.recipe.sweep_points import SweepPoint, label_of
from kdrecipes.recipe.sweep_text import Span
from kdrecipes.report.sweep_results import Point, SweepResults
from kdrecipes.runs.arms import Arm
from kdrecipes.runs.sweep_folder import SweepFolder, arm_keys, blank_point, count_of, new_point
from kdrecipes.training.keeper import Row

MOST_DRAWS = 50  # that give points which are there already, before the space is taken for searched through
LEAST_FOR_IMPORTANCE = 8  # points that are done


class Pruned(RunError):
    """A point whose students look worse than most others' did after as many epochs."""


class Search:
    """Draws the points of a search. Whoever works in the sweep's folder shares its file, search.log.

    Args:
        sweep, folder: the search's.
    """

    def __init__(self, sweep: Sweep, folder: SweepFolder):
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sweep, self.folder, self.optuna = sweep, folder, optuna
        self.trials: dict[str, Any] = {}  # of the points that this process drew, until they are told
        self.keys: dict[str, list[str]] = {}  # of each point's students
        file, lock = str(folder.path / "search.log"), cast(Any, _Flock(folder.lock("search")))
        self.storage = optuna.storages.JournalStorage(JournalFileBackend(file, lock_obj=lock))
        self.study = self._study(0)

    def _study(self, drawn: int) -> Any:
        # A seed for each draw: a process that goes on must not draw again what an earlier one did.
        seed = int(digest(self.sweep.recipe.seed, drawn)[:8], 16)
        with warnings.catch_warnings():  # that this option of it may change
            warnings.simplefilter("ignore")
            sampler = self.optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        return self.optuna.create_study(
            storage=self.storage,
            study_name="sweep",
            load_if_exists=True,
            direction="maximize",
            sampler=sampler,
            pruner=self.optuna.pruners.MedianPruner(),
        )

    def draw(self) -> SweepPoint | None:
        """A new point, entered into sweep.json; None where there are as many as were asked for, or no others."""
        with locked(self.folder.lock("draw")):
            points = self.folder.read()["points"]
            if len(points) >= self.sweep.trials:
                return None
            known, name = {point["recipe_sha256"]: point for point in points}, f"{len(points):03}"
            for _ in range(MOST_DRAWS):
                trial = self._study(len(self.study.get_trials(deepcopy=False))).ask()
                changes = {key: self._drawn(trial, key) for key in self.sweep.space}
                try:
                    point = SweepPoint(name, changes, self.sweep.changed(changes))
                except RecipeError as error:
                    self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
                    self._enter(_impossible(name, changes, str(error)))
                    return self.draw()
                if point.recipe.fingerprint not in known:
                    trial.set_user_attr("point", name)
                    self.trials[name] = trial
                    self._enter(new_point(point))
                    return point
                self._tell(trial, known[point.recipe.fingerprint])
            return None

    def _drawn(self, trial: Any, key: str) -> Any:
        space = self.sweep.space[key]
        if not isinstance(space, Span):
            return space[trial.suggest_categorical(key, list(range(len(space))))].value
        if isinstance(space.low, int):
            return trial.suggest_int(key, space.low, int(space.high), log=space.log)
        return trial.suggest_float(key, space.low, space.high, log=space.log)

    def _enter(self, entry: Point) -> None:
        with self.folder.update() as results:
            results["points"].append(entry)
            for one in results["points"]:
                if one["point"] not in self.keys:
                    self.keys[one["point"]] = self._keys_of(one)
            keys = [self.keys[one["point"]] for one in results["points"]]
            results["trainings"] |= {**count_of(keys), "done": results["trainings"]["done"]}
        if entry["status"] == "failed":
            self.folder.close(entry["point"], "failed", str(entry["message"]))

    def _keys_of(self, entry: Point) -> list[str]:
        """What tells the students of a point from those of others; none where its values do not go together."""
        try:
            return arm_keys(self.sweep.changed(entry["changes"]))
        except RecipeError:
            return []

    def watcher(self, point: SweepPoint) -> Callable[[Arm, list[Row]], None]:
        """What hears of a point's epochs, and raises `Pruned` where its students are not worth more of them.

        A point that another process drew, and left, is trained to its end.
        """
        trial, recipe = self.trials.get(point.name), point.recipe
        judged = "kd" if recipe.teachers else "baseline"

        def watch(arm: Arm, rows: list[Row]) -> None:
            if trial is None or arm.arm != judged or not rows:
                return
            before = recipe.compare.seeds.index(arm.seed) * recipe.train.epochs
            trial.report(rows[-1]["val_accuracy"], before + len(rows))
            if len(rows) < recipe.train.epochs and trial.should_prune():
                text = f"stopped after epoch {len(rows)} of {recipe.train.epochs} (seed {arm.seed}): below the median"
                raise Pruned(text)

        return watch

    def tell(self, results: SweepResults, name: str) -> None:
        """Let the search learn how a point ended."""
        self.trials.pop(name, None)
        for found in self.study.get_trials(deepcopy=False):
            if found.user_attrs.get("point") == name and not found.state.is_finished():
                self._tell(found.number, next(one for one in results["points"] if one["point"] == name))

    def _tell(self, trial: Any, point: Point) -> None:
        """`trial`: or its number."""
        states = self.optuna.trial.TrialState
        if point["status"] == "done" and point["validation_accuracy"]:
            self.study.tell(trial, point["validation_accuracy"]["mean"])
        else:
            self.study.tell(trial, state=states.PRUNED if point["status"] == "pruned" else states.FAIL)

    def importance(self) -> list[dict[str, Any]] | None:
        """Each key's share of the variance of validation accuracy (fANOVA), the largest first; None of few points."""
        done = [one for one in self.study.get_trials(deepcopy=False) if one.state.name == "COMPLETE"]
        if len(done) < LEAST_FOR_IMPORTANCE or len({one.value for one in done}) < 2:
            return None
        evaluator = self.optuna.importance.FanovaImportanceEvaluator(seed=self.sweep.recipe.seed)
        found: Mapping[str, float] = self.optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return [{"key": key, "importance": min(1.0, max(0.0, float(share)))} for key, share in found.items()]


def _impossible(name: str, changes: Mapping[str, Any], message: str) -> Point:
    """A point whose values do not go together."""
    entry = blank_point(name, changes, label_of(changes), digest(dict(changes)))
    return {**entry, "status": "failed", "message": message}


class _Flock:
    """The lock of the search's file, as Optuna takes one: the system frees it when the process dies."""

    def __init__(self, path: Path):
        self.path, self.held = path, ExitStack()

    def acquire(self) -> bool:
        self.held.enter_context(locked(self.path))
        return True

    def release(self) -> None:
        self.held.close()
