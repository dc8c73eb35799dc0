"""A saved student, ready to use: opened with what its file says of it, shown images as training showed them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kdrecipes.backend import keras
from kdrecipes.components.datasets.decoding import decode
from kdrecipes.components.registry import load_registry, unknown_component
from kdrecipes.data.examples import Stored, shown
from kdrecipes.data.reader import Decoding, Reader
from kdrecipes.disk.saved_facts import ENDINGS, SavedFacts, read_saved_facts
from kdrecipes.errors import KDRecipesError, RunError, UsageError, one_line
from kdrecipes.report.facts import read_arms
from kdrecipes.training import saved_models
from kdrecipes.training.inference import Inference, at_input_size
from kdrecipes.training.torch_modules import as_keras
from kdrecipes.wording import MOST_LISTED

Images = str | os.PathLike[str] | Sequence[str | os.PathLike[str] | NDArray[np.uint8]] | NDArray[np.uint8]


@dataclass(frozen=True)
class SavedStudent:
    """A network that a run saved, ready to use; `load_student` makes it.

    Attributes:
        model: from RGB pixels, float (batch, `image_size`, `image_size`, 3) in 0–255, to logits (batch, classes). A
            torch module's is a Keras model around it.
        classes: the class names, in the order of the outputs.
        image_size: pixels per side that the network sees.
        resize: "squash" or "crop": how an image that is not square becomes square.
        store_size: pixels per side that an image has first; from there it comes to `image_size`.
        background: RGB, each from 0 to 255, of what images with transparent pixels are laid on.
        max_pixels: of an image that is unpacked; one of more can't be read.
    """

    model: keras.Model = field(repr=False)
    classes: list[str]
    image_size: int
    resize: str
    store_size: int
    background: tuple[int, int, int]
    max_pixels: int

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
        source, skipped, parts = _Asked(images), [], [np.empty((0, len(self.classes)), np.float32)]
        reader = Reader(
            source, None, "images", self.store_size, self.resize, "none", Decoding(self.background, self.max_pixels)
        )
        ask = Inference(self.model)
        for start in range(0, len(source), batch_size):
            chunk = reader.read(start, min(start + batch_size, len(source)))
            skipped += chunk.skipped
            if not skipped:
                stored = Stored(chunk.images, chunk.labels, len(self.classes), None, None)
                with torch.no_grad():
                    image = keras.ops.convert_to_tensor(shown(stored, self.image_size)[0])
                    logits = ask(at_input_size(image, self.model))
                    parts.append(torch.softmax(logits.float(), 1).cpu().numpy())
        if skipped:
            raise RunError(_unreadable(skipped, len(source)))
        return np.concatenate(parts)


def load_student(run_or_file: str | Path, *, plugins: Iterable[str | Path] = ()) -> SavedStudent:
    """Open a student that a run trained.

    Args:
        run_or_file: a run folder, of which the distilled student of the first seed is taken, or where there is none
            the one on labels only; or the file of any student or teacher, `.keras` or `.safetensors`.
        plugins: single-file plugins (`.py`) to load first, where the network is one's.

    Returns:
        The student with its class names. It computes where Keras does: on a GPU where there is one.

    Raises:
        UsageError: when there is no such file, or no student yet, or nothing says what its classes are.
        EnvironmentProblem: when no plugin provides the component that a `.safetensors` file is of.
        RunError: when the network can't be opened.
    """
    file = _student_of(Path(run_or_file)) if Path(run_or_file).is_dir() else Path(run_or_file)
    if not file.is_file() or file.suffix not in ENDINGS:
        what = "a saved network is a .keras or a .safetensors file" if file.is_file() else "no such file or run folder"
        raise UsageError(f"{file}: {what}.")
    facts = read_saved_facts(file)
    if facts is None:
        raise UsageError(
            f"{file} does not say what its classes are, and no {file.stem}.json is beside it: a run writes both, a "
            "script's model.save neither. keras.saving.load_model opens a .keras file."
        )
    model = _opened(file, facts, tuple(Path(plugin).resolve() for plugin in plugins))
    width = model.output_shape[-1]
    if width != len(facts.classes):
        raise RunError(f"{file} has {width} outputs and names {len(facts.classes)} classes.")
    red, green, blue = facts.background
    return SavedStudent(
        model,
        facts.classes,
        facts.image_size,
        facts.resize,
        facts.store_size,
        (red, green, blue),
        facts.max_pixels,
    )


def _student_of(run: Path) -> Path:
    """The file of the student that is meant where a run is named."""
    if not (run / "lock.json").is_file():
        raise UsageError(f"{run} is no run folder: it has no lock.json. A run's is runs/<name>, or what --out said.")
    arms = list(read_arms(run).values())
    if not arms:
        raise UsageError(f"{run} holds no trained student yet.")
    chosen = next((arm for arm in arms if arm.arm == "kd"), arms[0])
    return run / chosen.student


def _opened(file: Path, facts: SavedFacts, plugins: tuple[Path, ...]) -> keras.Model:
    """The network of a file, in Keras' safe mode; a layer of a plugin's own is registered by building its component."""
    import kdrecipes.layers  # noqa: F401  registers our own layers

    registry = load_registry(plugins)
    try:
        return saved_models.load(file, lambda: _built(facts, plugins))
    except KDRecipesError:
        raise
    except Exception as error:
        first = error
    if file.suffix == ".keras" and registry.get("model", facts.component) is not None:
        try:
            _built(facts, plugins)
            return saved_models.load(file, lambda: _built(facts, plugins))
        except Exception as error:
            first = error
    raise RunError(f"{file} can't be opened: {one_line(first)[:400]}") from first


def _built(facts: SavedFacts, plugins: tuple[Path, ...]) -> keras.Model:
    """A network of a file's component, with weights of its own."""
    registry, classes = load_registry(plugins), len(facts.classes)
    component = registry.get("model", facts.component)
    if component is None:
        raise UsageError(
            f"{unknown_component(registry, 'model', facts.component)} The file holds the weights of one; name a plugin "
            "that is a single file with `plugins=`."
        )
    declared = component.options.get("properties", {})
    passed = {"classes": classes, "image_size": facts.image_size}
    model = component.build(**facts.options | {key: value for key, value in passed.items() if key in declared})
    if isinstance(model, torch.nn.Module) and not isinstance(model, keras.layers.Layer):
        return as_keras(model, classes, facts.image_size)
    return model


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
