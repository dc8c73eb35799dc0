"""The teacher: built, fine-tuned once and kept under its fingerprint, checked, and its outputs kept, before any student
trains."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.backend import keras, seed_everything
from kdrecipes.building import build_distiller, build_model, inference
from kdrecipes.data.loader import Split, ViewSettings
from kdrecipes.data.prepare import Data
from kdrecipes.disk.files import locked
from kdrecipes.disk.home import home
from kdrecipes.errors import RunError
from kdrecipes.evaluation import accuracy, mean_recall, predict
from kdrecipes.hashing import digest, path_sha256
from kdrecipes.progress import OUTPUTS, Progress
from kdrecipes.recipe.tables import Recipe
from kdrecipes.teacher_outputs import CachedOutputs, LogitsOf, count_views, estimated_bytes, open_outputs, split_content
from kdrecipes.training import state as state_files
from kdrecipes.training.fit import fit
from kdrecipes.training.inference import at_input_size
from kdrecipes.training.keeper import Row, assign
from kdrecipes.training.torch_modules import variables_of
from kdrecipes.wording import readable_bytes, readable_seconds

TEACHER_VERSION = 1
_RANGE_IMAGES = 500


@dataclass
class Teacher:
    """A teacher that is ready to teach.

    Attributes:
        model: from images to logits.
        fingerprint: sha256 (hex) of its weights.
        rows: the fine-tuning's epochs; empty where the weights were used as they are.
        reused: whether an earlier run fine-tuned it.
        warnings: failed checks that `preflight = "warn"` let pass.
        outputs_seconds: spent computing its outputs for the students; None where they ask it live.
    """

    model: keras.Model
    fingerprint: str
    rows: list[Row] = field(default_factory=list)
    reused: bool = False
    warnings: list[str] = field(default_factory=list)
    outputs_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of fine-tuning."""
        return sum(row["seconds"] for row in self.rows)


def prepare_teacher(
    recipe: Recipe,
    data: Data,
    watch: Callable[[int, int], Any] | None = None,
    note: Callable[[str], None] = print,
    *,
    jit_compile: bool = False,
) -> Teacher:
    """Build the recipe's teacher; fine-tune it, or take an earlier run's weights of the same fingerprint.

    Args:
        recipe: with a `[teacher]` table.
        data: the prepared splits.
        watch: as for `training.fit`.
        note: takes one line for the user.
        jit_compile: whether its training steps go through `torch.compile`.

    Raises:
        RunError: when the teacher can't be built or its loss is not finite.
    """
    seed = recipe.data["seed"]
    seed_everything(seed)
    model = build_model(recipe, "teacher", data)
    train = recipe.data["teacher"].get("train")
    if train is None:
        return Teacher(model, weights_fingerprint(model))
    folder = home() / "teachers" / f"{recipe.data['teacher']['name']}-{_fingerprint(recipe, data)[:20]}"

    def waiting() -> None:
        note(f"another run is fine-tuning this teacher in {folder}; waiting for it")

    with locked(folder / ".lock", waiting=waiting):
        if (found := state_files.load(folder / "weights")) is not None:
            assign(variables_of(model), found[0])
            note(f"teacher: fine-tuned by an earlier run, {folder}")
            return Teacher(model, weights_fingerprint(model), found[1]["rows"], reused=True)
        state = state_files.StateFolder(folder / "state")
        rows = fit(
            build_distiller(recipe, data, model, None, role="teacher"),
            data,
            train,
            size=data.teacher_size,
            label="teacher",
            order_seed=seed,
            settings=view_settings(recipe),
            state=state,
            jit_compile=jit_compile,
            watch=watch,
        )
        arrays = [keras.ops.convert_to_numpy(v.value) for v in variables_of(model)]
        state_files.save(folder / "weights", arrays, {"rows": rows})
        state.clear()
    return Teacher(model, weights_fingerprint(model), rows)


def view_settings(recipe: Recipe) -> ViewSettings:
    """The views, seeded by the recipe's own seed."""
    return ViewSettings(recipe.data["dataset"].get("views", {}), recipe.data["seed"])


def weights_fingerprint(model: keras.Model) -> str:
    """sha256 (hex) of all of a model's variables, and a torch module's buffers, in order."""
    content = hashlib.sha256()
    for variable in variables_of(model):
        content.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable.value)).tobytes())
    return content.hexdigest()


def _fingerprint(recipe: Recipe, data: Data) -> str:
    """What the fine-tuned weights depend on."""
    return digest(
        TEACHER_VERSION,
        *_component(recipe),
        recipe.data["teacher"]["train"],
        recipe.data["seed"],
        recipe.data["dataset"].get("views", {}),
        len(data.classes),
        data.teacher_size,
        split_content(data.train),
        split_content(data.validation),
    )


def _component(recipe: Recipe) -> list[Any]:
    """What the teacher is built from: name, provider, version, options, sha256 of the files and folders they name."""
    table = recipe.data["teacher"]
    _, provider = recipe.registry.components["model", table["name"]]
    options = recipe.options(table, "model")
    files = {k: path_sha256(Path(v)) for k, v in options.items() if isinstance(v, str) and Path(v).exists()}
    return [table["name"], provider.distribution, provider.version, options, files]


def preflight(teacher: Teacher, data: Data) -> list[str]:
    """What is wrong with a teacher, judged on the validation split; an empty list when nothing is.

    Checks that its logits are finite and no probabilities, that it does not take pixels of another range, and that its
    validation accuracy is above chance (1 / classes) by two standard errors. That it has a logit for each class was
    checked when it was built.
    """
    classes, n = len(data.classes), len(data.validation)
    logits = predict(teacher.model, data.validation, data.teacher_size)
    if not np.isfinite(logits).all():
        return [f"{int((~np.isfinite(logits)).any(1).sum())} of {n} validation images give logits that are not finite"]
    problems = []
    if (logits >= 0).all() and np.allclose(logits.sum(1), 1, atol=1e-3):
        problems.append("its outputs are probabilities, not logits; build it without its softmax")
    reached = accuracy(logits, data.validation.labels)
    if other := _better_range(teacher, data, logits):
        problems.append(other)
    chance = 1 / classes
    least = chance + 2 * math.sqrt(chance * (1 - chance) / n)
    if reached < least and not other:
        problems.append(
            f"its validation accuracy is {reached:.1%}, and guessing gives {chance:.1%} (at least {least:.1%} needed "
            f"on {n} images); is its head trained for these classes? [teacher.train] fine-tunes it"
        )
    return problems


def _better_range(teacher: Teacher, data: Data, logits: np.ndarray) -> str:
    """What is wrong where a teacher does much better on pixels of another range than on 0–255; else an empty text.

    Judged on 500 validation images by the mean recall of classes, to which a network that always says the same class,
    as most do on pixels that mean nothing to them, is no better than chance. Better is 10 points, and three standard
    errors of a difference.
    """
    spread = slice(None, None, max(1, len(data.validation) // _RANGE_IMAGES))
    part = Split(data.validation.store, data.validation.positions[spread])
    reached = mean_recall(logits[spread], part.labels)
    margin = max(0.1, 3 * math.sqrt(0.5 / len(part)))
    tried = []
    for text, layer, scale, offset in (
        ("from 0 to 1", "Rescaling(1 / 255)", 1 / 255, 0.0),
        ("from −1 to 1", "Rescaling(1 / 127.5, -1)", 1 / 127.5, -1.0),
    ):
        other = predict(teacher.model, part, data.teacher_size, scale=scale, offset=offset)
        tried.append((mean_recall(other, part.labels), text, layer))
    best, text, layer = max(tried)
    if best <= reached + margin:
        return ""
    return (
        f"on {len(part)} validation images its mean recall is {reached:.1%}, and with pixels {text} {best:.1%}: a run "
        f"gives every network pixels from 0 to 255, so put a {layer} layer into it"
    )


def check_teacher(recipe: Recipe, teacher: Teacher, data: Data) -> None:
    """Run the preflight and act as `teacher.preflight` says.

    Raises:
        RunError: when a check fails and the recipe says "stop".
    """
    problems = preflight(teacher, data)
    if problems and recipe.data["teacher"]["preflight"] == "stop":
        raise RunError(
            f"The teacher {recipe.data['teacher']['name']!r} did not pass its preflight: {'; '.join(problems)}. "
            'No student was trained. teacher.preflight = "warn" goes on regardless.'
        )
    teacher.warnings += [f"teacher preflight: {problem}" for problem in problems]


def choose_outputs(recipe: Recipe, data: Data) -> dict[str, str]:
    """How the students get the teacher's logits: `{"use": "cached" or "live", "why": …}`.

    Live where the recipe says so, or where the cache would be larger than `teacher.cache_limit_gb`.
    """
    table = recipe.data["teacher"]
    if table["cache"] == "off":
        return {"use": "live", "why": 'teacher.cache = "off"'}
    settings, epochs = view_settings(recipe), recipe.data["train"]["epochs"]
    needed = estimated_bytes(data.train, settings, epochs, len(data.classes))
    size = f"{count_views(data.train, settings, epochs):,} views take {readable_bytes(needed)}"
    limit = f"teacher.cache_limit_gb = {table['cache_limit_gb']:g}"
    if needed > table["cache_limit_gb"] * 1e9:
        return {"use": "live", "why": f"{size}, more than {limit}"}
    return {"use": "cached", "why": f"{size}, within {limit}"}


def logits_of(recipe: Recipe, model: keras.Model) -> LogitsOf:
    """The teacher as the students hear it: in inference mode, images resized where its input has another size."""
    ask = inference(recipe, model)
    return lambda image: ask(at_input_size(image, model))


def teacher_outputs(recipe: Recipe, data: Data, teacher: Teacher, device: str, progress: Progress) -> CachedOutputs:
    """The teacher's logits on every view that the students will be shown; what no earlier run left is computed.

    Raises:
        RunError: when a logit is not finite.
        EnvironmentProblem: when the disk has no room for them.
    """
    run_keys = {key: recipe.data["teacher"].get(key) for key in ("image_size", "precision")}
    outputs = open_outputs(
        logits_of(recipe, teacher.model),
        data.train,
        data.teacher_size,
        view_settings(recipe),
        recipe.data["train"]["epochs"],
        len(data.classes),
        [teacher.fingerprint, *_component(recipe), run_keys, device.partition(":")[0]],
        name=recipe.data["teacher"]["name"],
        progress=progress.teaching,
        note=progress.note,
    )
    size, earlier = f"{outputs.rows:,} views, {readable_bytes(outputs.bytes)}", outputs.rows - outputs.computed
    if not outputs.computed:
        progress.note(f"{OUTPUTS}: {size}, taken from an earlier run")
    else:
        kept = f", {earlier:,} of them from an earlier run" if earlier else ""
        progress.note(f"{OUTPUTS}: {size}{kept}, {readable_seconds(outputs.seconds)}")
    return outputs
