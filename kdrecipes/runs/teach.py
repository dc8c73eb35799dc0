"""How the students hear the teacher: its outputs computed once and kept, or the teacher asked at every step."""

from __future__ import annotations

from kdrecipes.backend import keras
from kdrecipes.data.prepare import Data
from kdrecipes.recipe.tables import Recipe
from kdrecipes.runs.build import inference
from kdrecipes.runs.progress import OUTPUTS, Progress
from kdrecipes.runs.teacher import Teacher, component_facts, view_settings
from kdrecipes.runs.teacher_outputs import (
    CachedOutputs,
    LogitsOf,
    count_views,
    estimated_bytes,
    open_outputs,
)
from kdrecipes.training.inference import at_input_size
from kdrecipes.wording import readable_bytes, readable_seconds


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
        [teacher.fingerprint, *component_facts(recipe), run_keys, device.partition(":")[0]],
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
