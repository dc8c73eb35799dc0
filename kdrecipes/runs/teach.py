"""How the students hear the teacher: its outputs computed once and kept, or the teacher asked at every step."""

from __future__ import annotations

from kdrecipes.backend import keras
from kdrecipes.data.prepare import Data
from kdrecipes.recipe.tables import Recipe, TeacherTable
from kdrecipes.runs.build import inference
from kdrecipes.runs.decisions import Decision
from kdrecipes.runs.folder import RunFolder
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


def choose_outputs(recipe: Recipe, table: TeacherTable, data: Data) -> Decision:
    """How the students get a teacher's logits: "cached" or "live".

    Live where the recipe says so, or where the cache would be larger than `teacher.cache_limit_gb`.
    """
    if table.cache == "off":
        return Decision("live", f'{table.place}.cache = "off"')
    settings, epochs = view_settings(recipe), recipe.train.epochs
    needed = estimated_bytes(data.train, settings, epochs, len(data.classes))
    size = f"{count_views(data.train, settings, epochs):,} views take {readable_bytes(needed)}"
    limit = f"{table.place}.cache_limit_gb = {table.cache_limit_gb:g}"
    if needed > table.cache_limit_gb * 1e9:
        return Decision("live", f"{size}, more than {limit}")
    return Decision("cached", f"{size}, within {limit}")


def logits_of(recipe: Recipe, table: TeacherTable, model: keras.Model) -> LogitsOf:
    """A teacher as the students hear it: in inference mode, images resized where its input has another size."""
    ask = inference(recipe, table, model)
    return lambda image: ask(at_input_size(image, model))


def teacher_outputs(
    recipe: Recipe, table: TeacherTable, data: Data, teacher: Teacher, device: str, progress: Progress
) -> CachedOutputs:
    """A teacher's logits on every view that the students will be shown; what no earlier run left is computed.

    Raises:
        RunError: when a logit is not finite.
        EnvironmentProblem: when the disk has no room for them.
    """
    run_keys = {"image_size": table.image_size, "precision": table.precision}
    outputs = open_outputs(
        logits_of(recipe, table, teacher.model),
        data.train,
        data.size(table),
        view_settings(recipe),
        recipe.train.epochs,
        len(data.classes),
        [teacher.fingerprint, *component_facts(recipe, table), run_keys, device.partition(":")[0]],
        name=table.name,
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


def teach(
    recipe: Recipe,
    table: TeacherTable,
    data: Data,
    teacher: Teacher,
    decision: Decision,
    device: str,
    folder: RunFolder,
    progress: Progress,
) -> None:
    """Give a teacher its logits on all that the students will be shown, where they do not ask it at every step.

    The seconds that the run spends on computing them are kept in its status, over interruptions.
    """
    if decision.use == "live":
        progress.note(f"{OUTPUTS}: live, since {decision.why}")
        return
    teacher.outputs = teacher_outputs(recipe, table, data, teacher, device, progress)
    teacher.outputs_seconds = round(folder.status.get("outputs_seconds", 0.0) + teacher.outputs.seconds, 3)
    folder.set_status("running", outputs_seconds=teacher.outputs_seconds)
