"""A run, from recipe to report: the folder and the straight line through it."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes import backend
from kdrecipes.backend import keras
from kdrecipes.building import build_callbacks, build_model, build_terms
from kdrecipes.data.prepare import Data, prepare
from kdrecipes.distiller import Distiller
from kdrecipes.errors import KDRecipesError, UsageError
from kdrecipes.evaluation import predict
from kdrecipes.home import disk_errors, locked, new_file, write_json
from kdrecipes.progress import PlannedFit, Progress, forward_cost
from kdrecipes.recipe import Recipe
from kdrecipes.report import build_report, write_report
from kdrecipes.teacher import Teacher, check_teacher, prepare_teacher, view_settings
from kdrecipes.training import Row, fit, state_folder


class Preempted(KDRecipesError):
    """SIGTERM came; the last whole epoch is saved (exit code 143)."""

    exit_code = 143


@dataclass(frozen=True)
class Arm:
    """One student of a run."""

    arm: str
    seed: int

    @property
    def label(self) -> str:
        """`"kd-0"`: its name in files and messages."""
        return f"{self.arm}-{self.seed}"


@dataclass
class RunFolder:
    """The files of one run. `status` and `rows` mirror status.json and history.jsonl."""

    path: Path
    status: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def set_status(self, status: str, **more: Any) -> None:
        """Write status.json: running, done, failed or preempted."""
        self.status = {**self.status, **more, "status": status}
        write_json(self.path / "status.json", self.status)

    def keep_rows(self, arm: str, seed: int, rows: list[Row]) -> None:
        """Put one arm's epochs into history.jsonl, in place of what it held of them."""
        others = [row for row in self.rows if (row["arm"], row["seed"]) != (arm, seed)]
        self.rows = others + [{"arm": arm, "seed": seed, **row} for row in rows]
        with new_file(self.path / "history.jsonl", "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in self.rows)

    def student(self, arm: Arm) -> Path:
        """Where an arm's student is saved."""
        return self.path / "students" / f"{arm.label}.keras"


def run(
    recipe: Recipe, out: str | Path | None = None, *, device: str = "auto", overwrite: bool = False
) -> dict[str, Any]:
    """Train what a recipe describes and report what distillation bought.

    The same recipe in the same folder continues after the last whole epoch; a finished run returns its report again.

    Args:
        recipe: from `load_recipe`.
        out: the run folder. Default: `runs/<name>` under the working directory.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        overwrite: replace the run of another recipe in that folder.

    Returns:
        The report, as in `report.json`.

    Raises:
        RunError: when data, teacher or training fail (exit code 1).
        UsageError: when the folder holds another recipe's run (2).
        EnvironmentProblem: when data, disk or plugins are missing (3).
    """
    path = Path(out) if out is not None else Path("runs") / recipe.name
    with open_run(recipe, path, overwrite) as folder:
        if folder.status.get("status") == "done" and (path / "report.json").is_file():
            return json.loads((path / "report.json").read_text(encoding="utf-8"))
        progress = Progress(path / "log.txt")
        with keras.device(backend.device_name(device)), progress.shown():
            return _straight_line(recipe, folder, progress, device)


def _straight_line(recipe: Recipe, folder: RunFolder, progress: Progress, device: str) -> dict[str, Any]:
    data = prepare(recipe, progress.preparing)
    _same_data(folder, data)
    plan_fits(recipe, data, progress)
    teacher = None
    if "teacher" in recipe.data:
        epochs = recipe.data["teacher"].get("train", {}).get("epochs", 0)
        teacher = prepare_teacher(recipe, data, progress.watch("teacher", epochs), progress.note)
        folder.keep_rows("teacher", recipe.data["seed"], teacher.rows)
        check_teacher(recipe, teacher, data)
    for arm in arms_of(recipe):
        if not folder.student(arm).is_file() or arm.label not in folder.status.get("arms", {}):
            train_arm(recipe, arm, data, teacher, folder, progress)
    logits = evaluate_once(recipe, data, teacher, folder)
    report = build_report(
        recipe, data, teacher, folder.rows, folder.status["arms"], logits, environment(recipe, device), command()
    )
    write_report(report, folder.path, recipe, data.classes, folder.rows, logits)
    folder.set_status("done")
    progress.note(f"report: {folder.path / 'report.html'}")
    return report


def arms_of(recipe: Recipe) -> list[Arm]:
    """The students to train, in order: for each seed the baseline, then the distilled one."""
    kinds = ["baseline"] if recipe.data["compare"]["baseline"] else []
    if "teacher" in recipe.data:
        kinds.append("kd")
    return [Arm(kind, seed) for seed in recipe.data["compare"]["seeds"] for kind in kinds]


def train_arm(
    recipe: Recipe, arm: Arm, data: Data, teacher: Teacher | None, folder: RunFolder, progress: Progress
) -> None:
    """Train one arm from the seed's own initial weights and save its student."""
    backend.seed_everything(arm.seed)
    student = build_model(recipe, "student", data)
    loss = recipe.data["loss"]
    terms, weights = build_terms(recipe, data) if arm.arm == "kd" else ([], [])
    distiller = Distiller(
        student=student,
        teacher=teacher.model if teacher and terms else None,
        loss=terms,
        weight=weights,
        label_weight=loss["label_weight"] if terms else 1.0,
        label_smoothing=loss["label_smoothing"],
        name=arm.arm,
    )
    state = state_folder(folder.path)
    rows = fit(
        distiller, data, recipe.data["train"], label=arm.label, order_seed=arm.seed, settings=view_settings(recipe),
        state=state, callbacks=build_callbacks(recipe, folder=str(folder.path), arm=arm.arm, seed=arm.seed),
        on_epoch=lambda rows: folder.keep_rows(arm.arm, arm.seed, rows),
        watch=progress.watch(arm.label, recipe.data["train"]["epochs"]),
    )  # fmt: skip
    path = folder.student(arm)
    with disk_errors(path.parent):
        path.parent.mkdir(exist_ok=True)
        # Keras chooses the format by the ending, so the temporary name keeps it.
        temporary = path.with_name(f".{path.name}")
        student.save(temporary)
        os.replace(temporary, path)
    facts = {"params": student.count_params(), "epochs": len(rows), "steps": sum(row["steps"] for row in rows),
             "seconds": sum(row["seconds"] for row in rows)}  # fmt: skip
    folder.set_status("running", arms={**folder.status.get("arms", {}), arm.label: facts})
    state.clear()


def evaluate_once(
    recipe: Recipe, data: Data, teacher: Teacher | None, folder: RunFolder
) -> dict[str, np.ndarray]:
    """Test logits of the teacher and of every saved student, as the file gives them back; kept in predictions.npz."""
    logits = {} if teacher is None else {"teacher": predict(teacher.model, data.test, data.image_size)}
    for arm in arms_of(recipe):
        saved = keras.models.load_model(folder.student(arm), compile=False, safe_mode=True)
        logits[arm.label] = predict(saved, data.test, data.image_size)
    with new_file(folder.path / "predictions.npz") as file:
        np.savez(file, labels=data.test.labels, **logits)
    return logits


def plan_fits(recipe: Recipe, data: Data, progress: Progress) -> None:
    """Tell `progress` which fits come and what a step of each costs, judged by one forward pass of each network."""
    images = keras.ops.zeros((8, data.image_size, data.image_size, 3))
    backend.seed_everything(0)
    student = forward_cost(build_model(recipe, "student", data), images)
    teach = 0.0
    fits = []
    if "teacher" in recipe.data:
        teach = forward_cost(build_model(recipe, "teacher", data), images)
        if train := recipe.data["teacher"].get("train"):
            fits.append(PlannedFit("teacher", train["epochs"] * (len(data.train) // train["batch_size"]), 3 * teach))
    train = recipe.data["train"]
    steps = train["epochs"] * (len(data.train) // train["batch_size"])
    for arm in arms_of(recipe):
        fits.append(PlannedFit(arm.label, steps, 3 * student + (teach if arm.arm == "kd" else 0.0)))
    progress.plan = fits


@contextmanager
def open_run(recipe: Recipe, path: Path, overwrite: bool) -> Iterator[RunFolder]:
    """The run folder, locked against other processes, with lock.json, recipe and status written.

    Raises:
        UsageError: when the folder holds another recipe's run, or files that are no run.
        EnvironmentProblem: when it can't be written, or another process runs in it.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file. Choose another folder with --out.")
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    with locked(path / ".lock", f"Another process is running in {path}. Wait for it, or choose another folder with --out."):
        _make_ready(recipe, path, overwrite)
        folder = _read_folder(path)
        if folder.status.get("status") != "done":
            folder.set_status("running")
        try:
            with _sigterm_raises():
                yield folder
        except BaseException as error:
            if folder.status.get("status") != "done":
                stopped = isinstance(error, KeyboardInterrupt | Preempted)
                folder.set_status("preempted" if stopped else "failed", error=str(error) or type(error).__name__)
            raise


def _make_ready(recipe: Recipe, path: Path, overwrite: bool) -> None:
    lock_file = path / "lock.json"
    earlier = json.loads(lock_file.read_text(encoding="utf-8")) if lock_file.is_file() else None
    others = [item.name for item in path.iterdir() if item.name != ".lock"]
    if earlier is None and others:
        raise UsageError(f"{path} holds files that are no run ({', '.join(sorted(others)[:3])} …). Choose another folder with --out.")
    if earlier is not None and earlier["recipe_sha256"] != recipe.fingerprint:
        if not overwrite:
            raise UsageError(
                f"{path} holds the run of another recipe: {_difference(earlier['recipe'], recipe.data)}. "
                "Choose another folder with --out, or replace that run with --overwrite."
            )
        for item in path.iterdir():
            if item.name == ".lock":
                continue
            if item.is_dir():
                shutil.rmtree(item)
            else:
                item.unlink()
        earlier = None
    if earlier is None:
        suffix = Path(recipe.source).suffix or ".toml"
        with new_file(path / f"recipe{suffix}", "w") as file:
            file.write(recipe.text)
        write_json(lock_file, {
            "recipe_sha256": recipe.fingerprint, "recipe": recipe.data, "overrides": list(recipe.overrides),
            "command": command(), "versions": versions(recipe),
        })  # fmt: skip


def _read_folder(path: Path) -> RunFolder:
    status, rows = {}, []
    if (path / "status.json").is_file():
        status = json.loads((path / "status.json").read_text(encoding="utf-8"))
        status.pop("error", None)
    if (path / "history.jsonl").is_file():
        rows = [json.loads(line) for line in (path / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return RunFolder(path, status, rows)


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first keys whose values differ between two resolved recipes."""

    def leaves(value: Any, path: str = "") -> dict[str, Any]:
        if isinstance(value, Mapping):
            return {k: v for key, part in value.items() for k, v in leaves(part, f"{path}.{key}".lstrip(".")).items()}
        return {path: value}

    a, b = leaves(old), leaves(new)
    ignored = ("name", "description", "callbacks")
    keys = [key for key in {**a, **b} if a.get(key) != b.get(key) and key not in ignored]
    shown = [f"{key} was {a.get(key, 'absent')} and is {b.get(key, 'absent')}" for key in keys[:3]]
    return ", ".join(shown) + (" …" if len(keys) > 3 else "")


def _same_data(folder: RunFolder, data: Data) -> None:
    lock = json.loads((folder.path / "lock.json").read_text(encoding="utf-8"))
    if lock.setdefault("dataset_sha256", data.fingerprint) != data.fingerprint:
        raise UsageError(
            f"The data changed since the run in {folder.path} began. Start it afresh in another folder with --out."
        )
    write_json(folder.path / "lock.json", lock)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM end the run like Ctrl-C does, where signals can be handled (the main thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise Preempted("Stopped by SIGTERM. The same command continues from the last whole epoch.")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def command() -> str:
    """The command that was typed, as one line."""
    if Path(sys.argv[0]).name in ("kdrecipes", "__main__.py"):
        return shlex.join(["kdrecipes", *sys.argv[1:]])
    return "kdrecipes.run(…)"


def versions(recipe: Recipe) -> dict[str, str]:
    """Versions of Python, of the packages that decide a result, and of the plugins the recipe uses."""
    names = ["kdrecipes", "keras", "torch", "numpy", *recipe.data["requires"]]
    found = {"python": platform.python_version()}
    for name in names:
        distribution = name.split("=")[0].split("<")[0].split(">")[0].split("~")[0].split("!")[0].strip()
        found[distribution] = metadata.version(distribution)
    return found


def environment(recipe: Recipe, device: str) -> dict[str, Any]:
    """Where the run happened: versions, device, threads, system, git."""
    import torch

    name = backend.device_name(device)
    described = torch.cuda.get_device_name(name) if name.startswith("cuda") else platform.processor() or platform.machine()
    return {
        "versions": versions(recipe), "device": name, "device_name": described, "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(), "system": f"{platform.system()} {platform.release()}", "git": _git(),
    }  # fmt: skip


def _git() -> dict[str, Any] | None:
    """The working directory's commit, and whether files differ from it; None outside a repository."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=5)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(changed.stdout.strip())}
