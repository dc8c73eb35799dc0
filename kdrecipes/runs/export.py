"""A student as a file of another format: written, read again by its own runtime, compared, and only then kept."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrecipes.backend import keras
from kdrecipes.components.exporters.found import exporter_named
from kdrecipes.components.exporters.writing import write
from kdrecipes.data.loader import Loader
from kdrecipes.data.splits import Split
from kdrecipes.disk.files import disk_errors, write_json
from kdrecipes.disk.json_files import read_json
from kdrecipes.disk.numpy_files import read_npy
from kdrecipes.disk.owners import refuse_foreign
from kdrecipes.disk.saved_facts import ENDINGS, beside, read_saved_facts, write_beside, write_saved_facts
from kdrecipes.distributions import UNKNOWN, installed_version
from kdrecipes.errors import RunError
from kdrecipes.report.sweep_results import refuse_point
from kdrecipes.runs.progress import Progress
from kdrecipes.runs.reopened import data_of, recipe_of
from kdrecipes.runs.saved_student import load_student
from kdrecipes.runs.trained import arm_of

LEAST_IMAGES = 256  # test images that a file is compared on
MOST_PIXELS = 2**28  # values of them: 1 GiB as float32, in memory and in a file on the way to the fresh process
CALIBRATION_IMAGES = 256  # training images by which a file of 8 bits learns its bounds
TOLERANCE = 1e-3  # of the largest logit: how far those of a file in float32 may be from the student's
_BATCH = 64


@dataclass(frozen=True)
class Export:
    """What `export.json` says of one file.

    Attributes:
        file: its name in the run's folder `export`.
        format: the exporter's name.
        options: what the exporter was given.
        student: the student's file in the run folder.
        sha256: hex, of the file; of several, such as `.bin` and `.xml`, of their bytes in the order of names.
        bytes: of all its files.
        images: test images that it was compared on.
        largest_difference: of a logit from the student's.
        largest_logit: of the student's, by size.
        top1_agreement: share of these images to which both give the same class.
        test_accuracy, student_accuracy: of the file and of the student on these images.
        runtime: the packages that read it again, with their versions.
    """

    file: str
    format: str
    options: Mapping[str, Any]
    student: str
    sha256: str
    bytes: int
    images: int
    largest_difference: float
    largest_logit: float
    top1_agreement: float
    test_accuracy: float
    student_accuracy: float
    runtime: Mapping[str, str]


def export(
    run: str | Path,
    format: str,
    *,
    arm: str = "kd",
    seed: int | None = None,
    options: Mapping[str, Any] | None = None,
    images: int | None = None,
    plugins: tuple[Path, ...] = (),
    note: Callable[[str], None] = lambda text: None,
) -> Export:
    """Write a student of a run in another format, read it again in a fresh process, and compare it on test images.

    Args:
        run: the folder of a run.
        format: an exporter's name: "keras", "onnx", "openvino", "safetensors", "torch" or a plugin's.
        arm: "kd" or "baseline".
        seed: of the student. Default: the first one.
        options: the exporter's.
        images: test images to compare on, 256 or more where the test split has as many. Default: all, or as
            many as make up 1 GiB (1,783 of 224 pixels per side).
        plugins: single-file plugins (`.py`) to load.
        note: takes lines for the user.

    Returns:
        What `export/export.json` of the run says of the file.

    Raises:
        UsageError: no such run, student, exporter or option; a point of a sweep, which no test image is for (exit code
            2).
        EnvironmentProblem: a package that the format needs is missing; the message says what installs it (3).
        RunError: the format can't express the network, or its logits are not the student's (1). No file is left.
    """
    run, plugins = Path(run), tuple(Path(plugin).resolve() for plugin in plugins)
    given = dict(options or {})
    exporter = exporter_named(format, given, plugins)
    recipe = recipe_of(run, plugins)
    refuse_point(run, "a file is compared with its student on test images")
    refuse_foreign(run, "Copy the run, and export from the copy.")
    facts = arm_of(run, arm, seed)
    with keras.device("cpu"):
        student = load_student(run / facts.student, plugins=plugins)
        data = data_of(run, recipe, Progress().preparing)
        shown = _spread(data.train, CALIBRATION_IMAGES)
        most = MOST_PIXELS // (3 * student.image_size**2) if images is None else images
        test = _spread(data.test, max(most, LEAST_IMAGES))
        note(f"exporting {facts.student} as {format}")
        exact = getattr(exporter, "exact", True)
        # What takes other pixels or is another network must not take the place of the plain file.
        kinds = [getattr(exporter, "pixels", "float32").replace("float32", ""), getattr(exporter, "variant", "")]
        name = "-".join([Path(facts.student).stem, *filter(None, kinds)]) + exporter.suffix
        with disk_errors(run / "export"):
            (run / "export").mkdir(exist_ok=True)
        with disk_errors(run), tempfile.TemporaryDirectory(dir=run / "export", prefix=".exporting-") as folder:
            file = Path(folder) / name
            saved = read_saved_facts(run / facts.student)
            assert saved is not None  # `load_student` refuses what says nothing of itself
            if saved.network and not getattr(exporter, "whole", True):
                raise RunError(
                    f"export as {format}: the file would hold weights alone, and no component builds this network: "
                    f'{saved.network}. Take a format that holds the whole network, such as "keras" or "onnx".'
                )
            write(exporter, format, student.model, file, _pixels(shown, student.image_size), student.classes)
            if exporter.suffix in ENDINGS:
                write_saved_facts(file, saved)
            write_beside(file, saved)
            note(f"comparing it with the student on {len(test):,} test images")
            pixels = _pixels(test, student.image_size)
            pixels = pixels.round() if getattr(exporter, "pixels", "float32") == "uint8" else pixels
            there = logits_of_file(format, given, plugins, file, pixels)
            here = _in_batches(student.logits, pixels)
            found = _compared(here, there, test.labels)
            if exact and found["largest_difference"] > TOLERANCE * max(1.0, found["largest_logit"]):
                raise RunError(
                    f"{format}: the file's logits are up to {found['largest_difference']:.2g} from the student's, of "
                    f"which the largest is {found['largest_logit']:.2g}. No file was kept."
                )
            files = sorted(Path(folder).iterdir())
            parts = [one for one in files if one != beside(file)]
            result = Export(
                file=name,
                format=format,
                options=given,
                student=facts.student,
                sha256=hashlib.sha256(b"".join(one.read_bytes() for one in parts)).hexdigest(),
                bytes=sum(one.stat().st_size for one in parts),
                images=len(test),
                runtime={package: installed_version(package) or UNKNOWN for package in exporter.to_read},
                **found,
            )
            for one in files:
                one.replace(run / "export" / one.name)
        _keep(run / "export" / "export.json", result)
    return result


def _spread(split: Split, images: int) -> Split:
    """So many images of a split, evenly over it."""
    if images >= len(split):
        return split
    chosen = np.linspace(0, len(split) - 1, images).round().astype(np.int64)
    return Split(split.store, split.positions[chosen], split.labelled)


def _pixels(split: Split, size: int) -> NDArray[np.float32]:
    """The images as the student is shown them: float32 (images, size, size, 3), 0–255."""
    loader = Loader(split, _BATCH, size)
    parts = [keras.ops.convert_to_numpy(loader[i][0]["image"]) for i in range(len(loader))]
    return np.concatenate(parts).astype(np.float32)


def _in_batches(
    predict: Callable[[NDArray[Any]], NDArray[np.float32]], pixels: NDArray[np.float32]
) -> NDArray[np.float32]:
    return np.concatenate([predict(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)])


def logits_of_file(
    format: str, options: Mapping[str, Any], plugins: tuple[Path, ...], file: Path, pixels: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The file's logits, by its own runtime in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "pixels.npy"
        answer = Path(folder) / "logits.npy"
        np.save(asked, pixels)
        order = json.dumps([format, dict(options), [str(p) for p in plugins], str(file), str(asked), str(answer)])
        done = subprocess.run([sys.executable, "-m", "kdrecipes.runs.export", order], capture_output=True, text=True)
        if done.returncode or not answer.is_file():
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise RunError(f"{format}: its runtime can't read the file again: {last[:400]}")
        return read_npy(answer)


def _answer(order: str) -> None:
    """In the fresh process: the logits of a file."""
    format, options, plugins, file, asked, answer = json.loads(order)
    exporter = exporter_named(format, options, tuple(map(Path, plugins)))
    with keras.device("cpu"):
        np.save(answer, _in_batches(exporter.load(Path(file)), read_npy(Path(asked))))


def _compared(here: NDArray[np.float32], there: NDArray[np.float32], labels: NDArray[Any]) -> dict[str, float]:
    if there.shape != here.shape or not np.isfinite(there).all():
        raise RunError(f"The file gives logits of the shape {there.shape}, the student {here.shape}, or no numbers.")
    return {
        "largest_difference": float(np.abs(here - there).max()),
        "largest_logit": float(np.abs(here).max()),
        "top1_agreement": float((here.argmax(1) == there.argmax(1)).mean()),
        "test_accuracy": float((there.argmax(1) == labels).mean()),
        "student_accuracy": float((here.argmax(1) == labels).mean()),
    }


def _keep(file: Path, result: Export) -> None:
    """Put one file's entry into export.json, in place of what it held of that file."""
    entries = []
    if file.is_file():
        try:
            entries = read_json(file)["exports"]
        except (OSError, ValueError, KeyError, TypeError):  # an interrupted or foreign one is written anew
            entries = []
    entries = [entry for entry in entries if entry.get("file") != result.file]
    write_json(file, {"schema_version": 1, "exports": [*entries, asdict(result)]})


if __name__ == "__main__":
    _answer(sys.argv[1])
