"""A saved student, ready to use: opened with what its file says of it, shown images as training showed them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from kdrecipes.backend import keras
from kdrecipes.components.datasets.decoding import decode
from kdrecipes.components.exporters.found import exporter_of, suffixes
from kdrecipes.components.rebuilt import opened
from kdrecipes.data.examples import Stored, shown
from kdrecipes.data.reader import Decoding, Reader
from kdrecipes.disk.saved_facts import ENDINGS, read_saved_facts
from kdrecipes.errors import RunError, UsageError, one_line
from kdrecipes.report.facts import read_arms
from kdrecipes.report.run_list import check_run_folder
from kdrecipes.training.inference import Inference, at_input_size
from kdrecipes.wording import MOST_LISTED

Images = str | os.PathLike[str] | Sequence[str | os.PathLike[str] | NDArray[np.uint8]] | NDArray[np.uint8]


@dataclass(frozen=True)
class SavedStudent:
    """A network that a run saved, ready to use; `load_student` makes it.

    Attributes:
        model: from RGB pixels, float (batch, `image_size`, `image_size`, 3) in 0–255, to logits (batch, classes). A
            torch module's is a Keras model around it. None for a file that another runtime reads.
        classes: the class names, in the order of the outputs.
        image_size: pixels per side that the network sees.
        resize: "squash" or "crop": how an image that is not square becomes square.
        store_size: pixels per side that an image has first; from there it comes to `image_size`.
        background: RGB, each from 0 to 255, of what images with transparent pixels are laid on.
        max_pixels: of an image that is unpacked; one of more can't be read.
        logits: from pixels of that size, (batch, `image_size`, `image_size`, 3), to logits, float32 (batch, classes).
    """

    model: keras.Model | None = field(repr=False)
    classes: list[str]
    image_size: int
    resize: str
    store_size: int
    background: tuple[int, int, int]
    max_pixels: int
    logits: Callable[[NDArray[Any]], NDArray[np.float32]] = field(repr=False)

    def predict(self, images: Images, batch_size: int = 256) -> NDArray[np.float32]:
        """Probabilities of the classes, for images that are decoded and resized as the run's were.

        Args:
            images: paths of image files, or arrays, uint8 (height, width[, channels]) with 1 to 4 channels, of any
                sizes; or one path; or one array, uint8 (images, height, width, channels).
            batch_size: images at once.

        Returns:
            float32 (images, classes), in the order of `images` and of `classes`; each row sums to 1.

        Raises:
            UsageError: when something is neither a path nor such an array.
            RunError: when files can't be read; up to 20 are named. Nothing is predicted then.
        """
        probabilities, skipped = self.predict_readable(images, batch_size)
        if skipped:
            raise RunError(_unreadable(skipped, len(probabilities) + len(skipped)))
        return probabilities

    def predict_readable(
        self, images: Images, batch_size: int = 256
    ) -> tuple[NDArray[np.float32], list[tuple[str, str]]]:
        """As `predict`, of those that can be read; and name and reason of each that can't, in order."""
        source, skipped, parts = _Asked(images), [], [np.empty((0, len(self.classes)), np.float32)]
        reader = Reader(
            source, None, "images", self.store_size, self.resize, "none", Decoding(self.background, self.max_pixels)
        )
        for start in range(0, len(source), batch_size):
            chunk = reader.read(start, min(start + batch_size, len(source)))
            skipped += chunk.skipped
            if len(chunk.images):
                stored = Stored(chunk.images, chunk.labels, len(self.classes), None, None)
                parts.append(softmax(self.logits(np.asarray(shown(stored, self.image_size)[0])), axis=1))
        return np.concatenate(parts), skipped


def load_student(run_or_file: str | Path, *, plugins: Iterable[str | Path] = ()) -> SavedStudent:
    """Open a student that a run trained.

    Args:
        run_or_file: a run folder, of which the distilled student of the first seed is taken, or where there is none
            the one on labels only; or the file of any student or teacher, `.keras` or `.safetensors`; or what
            `kdrecipes export` wrote, with the .json file beside it.
        plugins: single-file plugins (`.py`) to load first, where the network is one's.

    Returns:
        The student with its class names. It computes where Keras does: on a GPU where there is one.

    Raises:
        UsageError: when there is no such file, or no student yet, or nothing says what its classes are.
        EnvironmentProblem: when no plugin provides the component that a `.safetensors` file is of, or a package that
            reads the file is missing.
        RunError: when the network can't be opened.
    """
    file = _student_of(Path(run_or_file)) if Path(run_or_file).is_dir() else Path(run_or_file)
    files = tuple(Path(plugin).resolve() for plugin in plugins)
    exporter = exporter_of(file.suffix, files) if file.is_file() and file.suffix not in ENDINGS else None
    if not file.is_file() or (exporter is None and file.suffix not in ENDINGS):
        what = (
            f"a network's file ends in {', '.join(suffixes(files))}" if file.is_file() else "no such file or run folder"
        )
        raise UsageError(f"{file}: {what}.")
    facts = read_saved_facts(file)
    if facts is None:
        raise UsageError(
            f"{file} does not say what its classes are, and no {file.stem}.json is beside it: a run writes both, a "
            "script's model.save neither. keras.saving.load_model opens a .keras file."
        )
    model = opened(file, facts, files) if exporter is None else None
    if model is not None and model.output_shape[-1] != len(facts.classes):
        raise RunError(f"{file} has {model.output_shape[-1]} outputs and names {len(facts.classes)} classes.")
    red, green, blue = facts.background
    return SavedStudent(
        model,
        facts.classes,
        facts.image_size,
        facts.resize,
        facts.store_size,
        (red, green, blue),
        facts.max_pixels,
        _logits_of(model) if exporter is None else _loaded(exporter, file, len(facts.classes)),
    )


def _logits_of(model: keras.Model) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """A Keras model's logits of pixels, at its own input size, in inference mode."""
    ask = Inference(model)

    def logits(pixels: NDArray[Any]) -> NDArray[np.float32]:
        with torch.no_grad():
            image = keras.ops.convert_to_tensor(pixels)
            return ask(at_input_size(image, model)).float().cpu().numpy()

    return logits


def _loaded(exporter: Any, file: Path, classes: int) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """What a file's own runtime makes of it."""
    try:
        ask = exporter.load(file)
    except Exception as error:
        raise RunError(f"{file} can't be opened: {one_line(error)[:400]}") from error

    def logits(pixels: NDArray[Any]) -> NDArray[np.float32]:
        try:
            found: NDArray[np.float32] = ask(pixels)
        except Exception as error:  # what the file takes and gives is known only now
            raise RunError(f"{file} can't answer: {one_line(error)[:400]}") from error
        if found.shape != (len(pixels), classes):
            raise RunError(f"{file} gives logits of the shape {found.shape} and names {classes} classes.")
        return found

    return logits


def _student_of(run: Path) -> Path:
    """The file of the student that is meant where a run is named."""
    check_run_folder(run)
    arms = list(read_arms(run).values())
    if not arms:
        raise UsageError(f"{run} holds no trained student yet.")
    chosen = next((arm for arm in arms if arm.arm == "kd"), arms[0])
    return run / chosen.student


class _Asked:
    """Images of a caller as a source that a `Reader` reads.

    Args:
        images: as `SavedStudent.predict` takes them.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, images: Images):
        single = isinstance(images, str | os.PathLike)
        if isinstance(images, np.ndarray) and images.ndim != 4:
            raise UsageError(
                f"images is one array of shape {images.shape}; one array is (images, height, width, channels). Put a "
                "single image into a list."
            )
        self.images: list[Any] = [images] if single else list(images)  # type: ignore[list-item,arg-type]
        for i, image in enumerate(self.images):
            if not isinstance(image, str | os.PathLike | np.ndarray):
                raise UsageError(
                    f"images[{i}] is a {type(image).__name__}; an image is the path of a file, or an array, uint8 "
                    "(height, width, channels)."
                )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> dict[str, Any]:
        image = self.images[i]
        return {"image": image if isinstance(image, np.ndarray) else decode(os.fspath(image)), "label": -1}

    def name_of(self, i: int) -> str:
        """What messages call the image."""
        return f"images[{i}]" if isinstance(self.images[i], np.ndarray) else os.fspath(self.images[i])


def _unreadable(skipped: list[tuple[str, str]], images: int) -> str:
    named = [f"{name} ({reason})" for name, reason in skipped[:MOST_LISTED]]
    more = [f"and {len(skipped) - MOST_LISTED} more"] if len(skipped) > MOST_LISTED else []
    return f"{len(skipped)} of {images} images can't be read: {'; '.join(named + more)}."
