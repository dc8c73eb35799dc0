"""What the points of a sweep share within a process: data, teachers and their outputs, each made once; decisions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kdrecipes.data.prepare import Data, prepare, refuse_unfit
from kdrecipes.disk.files import locked, remove_unfinished
from kdrecipes.disk.json_files import read_json, write_sealed
from kdrecipes.errors import UsageError, one_line
from kdrecipes.hashing import digest
from kdrecipes.recipe.resolve import counted
from kdrecipes.recipe.tables import Recipe, StudentTable, TeacherTable
from kdrecipes.runs.arm_digests import built_from
from kdrecipes.runs.compile_choice import choose_compile
from kdrecipes.runs.dataset_facts import dataset_notes
from kdrecipes.runs.decisions import Decision
from kdrecipes.runs.preflight import check_teacher
from kdrecipes.runs.progress import Progress
from kdrecipes.runs.recalibration import choose_recalibration
from kdrecipes.runs.teach import passes_taught, teacher_outputs
from kdrecipes.runs.teacher import Teacher, prepare_teacher
from kdrecipes.runs.teacher_outputs import split_content

MOST_KEPT = 4  # of each kind: a sweep of datasets or teachers goes from one to the next


class _Newest:
    """The last few things that were made, by key."""

    def __init__(self) -> None:
        self.made: OrderedDict[str, Any] = OrderedDict()

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self.made:
            self.made[key] = make()
            while len(self.made) > MOST_KEPT:
                self.made.popitem(last=False)
        self.made.move_to_end(key)
        return self.made[key]


class Parts:
    """Of one process.

    Args:
        out: the sweep's folder, which keeps the decisions.
        device: "cpu", "cuda", …
        progress: is told what is prepared.
    """

    def __init__(self, out: Path, device: str, progress: Progress):
        self.out, self.device, self.progress = out, device, progress
        self._data, self._teachers, self._outputs = _Newest(), _Newest(), _Newest()

    def data(self, recipe: Recipe) -> Data:
        """The recipe's data.

        Raises:
            RunError, EnvironmentProblem: as `prepare`.
        """
        sizes = [recipe.student.image_size, {name: one.image_size for name, one in recipe.teachers.items()}]
        key = digest(recipe.data["dataset"], built_from(recipe, recipe.dataset), sizes, recipe.seed)

        def make() -> Data:
            data = prepare(recipe, self.progress.preparing)
            for text in dataset_notes(recipe, data):
                self.progress.note(text)
            return data

        data: Data = self._data.get(key, make)
        refuse_unfit(recipe, data)
        return data

    def compiling(self, recipe: Recipe, data: Data) -> dict[str, Decision]:
        """Whether steps are compiled; by "student", and by each teacher's label."""
        facts = [self._networks(recipe, data), recipe.train.data, data.images, self.device]

        def make() -> dict[str, Decision]:
            return choose_compile(recipe, data, self.device, len(recipe.compare.seeds))

        return self._decided("compile", facts, make)

    def recalibrating(self, recipe: Recipe, data: Data) -> Decision:
        """From how many batches the students' batch-norm statistics are estimated anew."""
        facts = [
            built_from(recipe, recipe.student),
            recipe.train.data,
            data.student_size,
            len(data.classes),
            asdict(data.mixture(recipe, taught=bool(recipe.teachers))),
        ]
        make = lambda: {"student": choose_recalibration(recipe, data, {})}  # noqa: E731
        return self._decided("recalibrate_batch_norm", facts, make)["student"]

    def _networks(self, recipe: Recipe, data: Data) -> list[Any]:
        tables: list[StudentTable | TeacherTable] = [recipe.student, *recipe.teachers.values()]
        return [[built_from(recipe, one), data.size(one)] for one in tables] + [counted(recipe.data).get("teacher")]

    def _decided(self, name: str, facts: list[Any], make: Callable[[], Mapping[str, Decision]]) -> dict[str, Decision]:
        """What was decided of these facts: once for the sweep, by whichever process asked first."""
        file = self.out / "decisions" / f"{name}-{digest(facts)[:20]}.json"
        with locked(self.out / ".locks" / "decisions"):
            if not file.is_file():
                remove_unfinished(file.parent)
                write_sealed(file, {about: asdict(one) for about, one in make().items()})
            try:
                return {about: Decision(**one) for about, one in read_json(file).items()}
            except (ValueError, TypeError, AttributeError) as error:
                raise UsageError(
                    f"{file} can't be read ({one_line(error)}). It holds what was decided for all points. Remove it, "
                    "and the same command decides anew."
                ) from error

    def teachers(self, recipe: Recipe, data: Data, jit: Mapping[str, Decision]) -> dict[str, Teacher]:
        """Each teacher, fine-tuned and checked, by its id; without its outputs."""
        return {name: self._teacher(recipe, table, data, jit) for name, table in recipe.teachers.items()}

    def _teacher(self, recipe: Recipe, table: TeacherTable, data: Data, jit: Mapping[str, Decision]) -> Teacher:
        label = recipe.label_of(table)

        def make() -> Teacher:
            watch = self.progress.watch(label, table.train.epochs if table.train else 0)
            teacher = prepare_teacher(recipe, table, data, watch, self.progress.note, jit=jit[label])
            check_teacher(recipe, table, teacher, data)
            for text in teacher.warnings:
                self.progress.note(f"Warning: {text}")
            return teacher

        teacher: Teacher = self._teachers.get(self._of_teacher(recipe, table, data), make)
        return teacher

    def _of_teacher(self, recipe: Recipe, table: TeacherTable, data: Data) -> str:
        views = recipe.dataset.views
        train = table.train.data if table.train else None
        run_keys = [table.seed, table.preflight, table.class_names, data.size(table)]
        contents = [split_content(data.train), split_content(data.validation)]
        seen = [views.data, recipe.seed] if views else None
        return digest(table.id, built_from(recipe, table), train, run_keys, contents, seen)

    def heard(
        self, recipe: Recipe, data: Data, teachers: Mapping[str, Teacher], hearing: Mapping[str, Decision]
    ) -> dict[str, Teacher]:
        """The teachers with their outputs on all that the students are shown, where these do not ask them live."""
        found = {}
        for name, table in recipe.teachers.items():
            if hearing[name].use == "live":
                found[name] = teachers[name]
                continue
            passes = [[split_content(part), count] for part, count in passes_taught(recipe, data)]
            key = digest(self._of_teacher(recipe, table, data), table.precision, passes)

            def make(table: TeacherTable = table, teacher: Teacher = teachers[name]) -> Any:
                return teacher_outputs(recipe, table, data, teacher, self.device, self.progress)

            found[name] = replace(teachers[name], outputs=self._outputs.get(key, make))
        return found
