"""How the students hear the teacher: its outputs computed once and kept, or the teacher asked at every step."""

from __future__ import annotations

from kdrecipes.backend import keras
from kdrecipes.data.mixture import count_passes
from kdrecipes.data.prepare import Data
from kdrecipes.data.splits import Split
from kdrecipes.disk.cache import note_served
from kdrecipes.errors import KDRecipesError
from kdrecipes.recipe.tables import Recipe, TeacherTable
from kdrecipes.runs.build import build_terms, inference, layers_read
from kdrecipes.runs.decisions import Decision
from kdrecipes.runs.folder import RunFolder
from kdrecipes.runs.joined_outputs import JoinedOutputs
from kdrecipes.runs.progress import Progress
from kdrecipes.runs.teacher import Teacher, component_facts, view_settings
from kdrecipes.runs.teacher_outputs import LogitsOf, count_views, open_outputs
from kdrecipes.training.inference import at_input_size
from kdrecipes.wording import readable_bytes, readable_seconds


def choose_outputs(recipe: Recipe, table: TeacherTable, data: Data) -> Decision:
    """How the students get a teacher's logits: "cached" or "live".

    Live where the recipe says so, or where the cache would be larger than `teacher.cache_limit_gb`.
    """
    if not hears(recipe, table):
        return Decision("live", "no term hears it")
    if table.cache == "off":
        return Decision("live", f'{table.place}.cache = "off"')
    views = views_taught(recipe, data)
    needed = views * len(data.classes) * 2  # in float16
    size = f"{views:,} views take {readable_bytes(needed)}"
    limit = f"{table.place}.cache_limit_gb = {table.cache_limit_gb:g}"
    if needed > table.cache_limit_gb * 1e9:
        return Decision("live", f"{size}, more than {limit}")
    return Decision("cached", f"{size}, within {limit}")


def hears(recipe: Recipe, table: TeacherTable) -> bool:
    """Whether a term hears a teacher, alone or among all."""
    return any(term.teacher in (None, table.id) for term in recipe.loss.terms)


def unheard(recipe: Recipe) -> list[str]:
    """A warning for each teacher that no term hears."""
    return [
        f"{one.place} ({one.id}): no term of [loss] hears it, so it teaches nothing: each names another `teacher`. It "
        "is made ready and measured all the same."
        for one in recipe.teachers.values()
        if not hears(recipe, one)
    ]


def how_asked(recipe: Recipe, table: TeacherTable, data: Data, decision: Decision) -> str:
    """How the students ask a teacher: "never", "once" for all logits, at all "steps", or "both", there for layers."""
    if not hears(recipe, table):
        return "never"
    if decision.use == "live":
        return "steps"
    return "both" if layers_read(build_terms(recipe, data)[0]) & {None, table.id} else "once"


def passes_taught(recipe: Recipe, data: Data) -> list[tuple[Split, int]]:
    """The splits that a distilled student is taught on, and how often it passes over each."""
    mixed = data.mixture(recipe, taught=True)
    batches, unlabelled = recipe.train.epochs * mixed.steps, data.images - len(data.train)
    found = [(data.train, count_passes(len(data.train), mixed.labelled, batches))]
    return found + [(part, count_passes(unlabelled, mixed.unlabelled, batches)) for part in data.unlabelled]


def views_taught(recipe: Recipe, data: Data) -> int:
    """How many views a teacher is asked about, once and for all students."""
    settings = view_settings(recipe)
    return sum(count_views(len(part), settings, passes) for part, passes in passes_taught(recipe, data))


def outputs_label(recipe: Recipe, table: TeacherTable) -> str:
    """What messages and plans call the computing of a teacher's outputs: `"teacher outputs"`."""
    return f"{recipe.label_of(table)} outputs"


def logits_of(recipe: Recipe, table: TeacherTable, model: keras.Model) -> LogitsOf:
    """A teacher as the students hear it: in inference mode, images resized where its input has another size."""
    ask = inference(recipe, table, model)
    return lambda image: ask(at_input_size(image, model))


def teacher_outputs(
    recipe: Recipe, table: TeacherTable, data: Data, teacher: Teacher, device: str, progress: Progress
) -> JoinedOutputs:
    """A teacher's logits on every view that the students will be shown; what no earlier run left is computed.

    Raises:
        RunError: when a logit is not finite.
        EnvironmentProblem: when the disk has no room for them.
    """
    label = outputs_label(recipe, table)
    run_keys = {"image_size": table.image_size, "precision": table.precision}
    asked, views = logits_of(recipe, table, teacher.model), views_taught(recipe, data)
    outputs = JoinedOutputs([])

    def teaching(done: int, total: int) -> None:
        progress.teaching(label, min(outputs.rows + done, views), views)

    for split, passes in passes_taught(recipe, data):
        one = open_outputs(
            asked,
            split,
            data.size(table),
            view_settings(recipe),
            passes,
            len(data.classes),
            [teacher.fingerprint, *component_facts(recipe, table, data), run_keys, device.partition(":")[0]],
            name=table.name,
            progress=teaching,
            note=progress.note,
        )
        outputs.parts.append(one)
        note_served(one.folder, recipe.name)
    size, earlier = f"{outputs.rows:,} views, {readable_bytes(outputs.bytes)}", outputs.rows - outputs.computed
    if not outputs.computed:
        progress.note(f"{label}: {size}, taken from an earlier run")
    else:
        kept = f", {earlier:,} of them from an earlier run" if earlier else ""
        progress.note(f"{label}: {size}{kept}, {readable_seconds(outputs.seconds)}")
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
    teacher.asked = how_asked(recipe, table, data, decision)
    if decision.use == "live":
        progress.note(f"{outputs_label(recipe, table)}: live, since {decision.why}")
        return
    try:
        with progress.clock.part("outputs", table.id) as part:
            teacher.outputs = teacher_outputs(recipe, table, data, teacher, device, progress)
            computed, rows = teacher.outputs.computed, teacher.outputs.rows
            part.by = "this" if computed == rows else "both" if computed else "earlier"
    except KDRecipesError as error:
        if len(recipe.teachers) > 1:
            error.at(f"{table.place} ({table.id})")
        raise
    key = "outputs_seconds" if len(recipe.teachers) == 1 else f"outputs_seconds of {table.id}"
    teacher.outputs_seconds = round(folder.status.get(key, 0.0) + teacher.outputs.seconds, 3)
    folder.set_status("running", **{key: teacher.outputs_seconds})
