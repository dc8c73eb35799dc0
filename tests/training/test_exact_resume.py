"""A fit, or the computing of teachers' outputs, that is stopped anywhere goes on to the bit.

Compared are networks, optimiser, averages, seeds, metrics, rows, and the files of outputs.
"""

from __future__ import annotations

import itertools
import os
import signal

import numpy as np
import pytest
from resume_cells import BASE, DROPS, FACTORS, covering

from kdrecipes.backend import keras, seed_everything
from kdrecipes.data.prepare import prepare
from kdrecipes.disk import chunked_array as chunked
from kdrecipes.disk.chunked_array import ChunkedArray
from kdrecipes.errors import Preempted
from kdrecipes.recipe.load import load_recipe
from kdrecipes.runs import teacher_outputs
from kdrecipes.runs.arms import Arm, fit_arm
from kdrecipes.runs.build import build_model
from kdrecipes.runs.decisions import EAGER, Decision
from kdrecipes.runs.progress import Progress
from kdrecipes.runs.teach import teacher_outputs as outputs_of
from kdrecipes.runs.teacher import Teacher, prepare_teacher
from kdrecipes.stopping import stoppable
from kdrecipes.training import fit as training
from kdrecipes.training import generators
from kdrecipes.training import keeper as keeping
from kdrecipes.training.keeper import Keeper
from kdrecipes.training.state import StateFolder

CHUNK, BATCH = 64, 24  # rows of a chunk of a teacher's outputs, and of the batches in which they are computed


class Filling(Progress):
    """Hears of each batch of a teacher's outputs and of each chunk that is written; ends a filling as a crash does.

    Attributes:
        batches: how many chunks were written when each of them, and the beginning of a filling, was told.
        chunks: file and number of each chunk that was written.
        stop: the place in `batches` of the one that is not kept; as many as there are: it ends when all is filled.
    """

    def __init__(self):
        super().__init__(quiet=True)
        self.batches, self.chunks, self.stop = [], [], None

    def teaching(self, label, done, total):
        self.batches.append(len(self.chunks))
        self.end_at(len(self.batches) - 1)

    def end_at(self, place):
        if place == self.stop:
            raise KeyboardInterrupt

    def place_of(self, moment):
        """Where in `batches` a filling that heard all of them is to be stopped; an epoch's end is that of a file."""
        if share := FACTORS["moment"][moment][1]:
            return int(np.ceil(share * (len(self.batches) - 1)))
        files = [file for file, _ in self.chunks]
        return self.kept().index(files.count(files[0]))

    def kept(self):
        """How many chunks there are where a filling is stopped at each place."""
        return [*self.batches, len(self.chunks)]


def cells():
    """The first of a pairwise-covering set as it is, the others slow; a threefold one for `make soak`."""
    pairwise = covering(2)
    for number, cell in enumerate(pairwise):
        yield pytest.param(cell, id=", ".join(cell.values()), marks=[pytest.mark.slow] if number else [])
    for cell in covering(3):
        if cell not in pairwise:
            yield pytest.param(cell, id=", ".join(cell.values()), marks=[pytest.mark.slow, pytest.mark.soak])


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """`trained(cell, name)`: the final state of a fit in a folder of that name, where it goes on.

    Of outputs that are computed it is that of the distilled student, and what the files of outputs hold.
    """
    (tmp_path / "drops.py").write_text(DROPS)
    monkeypatch.setattr(StateFolder, "clear", lambda self: None)
    monkeypatch.setattr(chunked, "CHUNK", CHUNK)
    monkeypatch.setattr(teacher_outputs, "_BATCH", BATCH)
    heard, write = [], ChunkedArray.write

    def writing(self, chunk, rows):
        write(self, chunk, rows)
        heard[-1].chunks.append((self.path.relative_to(self.path.parents[1]), chunk))

    monkeypatch.setattr(ChunkedArray, "write", writing)

    def trained(cell, name, *more, filling=None):
        heard.append(filling or Filling())
        monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / name / "home"))
        chosen = {key: FACTORS[key][level] for key, level in cell.items()}
        network, count = chosen.pop("network"), chosen.pop("teachers")
        chosen.pop("moment")
        networks = [
            f"student={{{network}}}",
            f'teacher={{id="t", copies={count}, {network}, precision="{cell["precision"]}", train={{epochs=2}}}}',
        ]
        recipe = load_recipe(
            "digits",
            [*networks, *BASE, *(text for texts in chosen.values() for text in texts), *more],
            plugins=[tmp_path / "drops.py"],
        )
        data = prepare(recipe)
        if cell["fit"] == "teacher":
            prepare_teacher(recipe, recipe.teachers["t"], data, note=lambda text: None)
            [place] = (tmp_path / name / "home" / "teachers").glob("*/state")
            return StateFolder(place).load()
        teachers = {}
        for number, (id, table) in enumerate(recipe.teachers.items()):
            seed_everything(number)
            teachers[id] = Teacher(build_model(recipe, table, data), id)
        filled = cell["fit"] == "outputs"
        if filled or (cell["fit"] == "kd" and cell["logits"] == "cached"):
            for id, one in teachers.items():
                one.outputs = outputs_of(recipe, recipe.teachers[id], data, one, "cpu", heard[-1])
            heard[-1].end_at(len(heard[-1].batches))
        (tmp_path / name / "students").mkdir(parents=True, exist_ok=True)
        anew = Decision(recipe.train.recalibrate_batch_norm or 0, "")
        arm = Arm("kd" if filled else cell["fit"], 3)
        fit_arm(recipe, arm, data, teachers, EAGER, anew, folder=tmp_path / name, progress=Progress(quiet=True))
        arrays, meta = StateFolder(tmp_path / name / "state").load()
        files = sorted((tmp_path / name / "home" / "outputs").glob("*/*.*")) if filled else []
        return [*arrays, *(np.fromfile(file, np.uint8) for file in files)], {**meta, "files": [f.name for f in files]}

    return trained


class Stop(keras.callbacks.Callback):
    """Ends a fit as a crash does, after so many steps of an epoch."""

    def __init__(self, epoch, steps, of):
        super().__init__()
        self.at, self.whole = (epoch, steps), steps == of

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        if (epoch, 0) == self.at:
            raise KeyboardInterrupt

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise KeyboardInterrupt

    def on_test_begin(self, logs=None):
        if self.whole and self.epoch == self.at[0]:
            raise KeyboardInterrupt


class Heard(keras.callbacks.Callback):
    """The epochs and numbers of the batches that callbacks hear of."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.batches.append((self.epoch, batch))


def interrupted(trained, cell, whole=None):
    """The final state of a fit that was stopped and went on; `whole`: the filling that nobody stopped."""
    return refilled(trained, cell, whole) if cell["fit"] == "outputs" else continued(trained, cell)


def refilled(trained, cell, whole):
    """That of outputs whose filling was stopped and went on."""
    stopped, filling = Filling(), Filling()
    stopped.stop = whole.place_of(cell["moment"])
    with pytest.raises(KeyboardInterrupt):
        trained(cell, "stopped", filling=stopped)
    found = trained(cell, "stopped", filling=filling)
    assert stopped.chunks + filling.chunks == whole.chunks, "each is computed once, and in the same order"
    assert len(stopped.chunks) == whole.kept()[stopped.stop]
    return found


def continued(trained, cell):
    """That of a fit within which it was stopped."""
    epoch, share = FACTORS["moment"][cell["moment"]]
    steps, heard = [], Heard()

    def stopping(label, distiller, loader, callbacks):
        steps.append((int(np.ceil(share * len(loader))), len(loader)))
        callbacks.append(Stop(epoch, *steps[0]))

    with training.observed(stopping), pytest.raises(KeyboardInterrupt):
        trained(cell, "stopped")
    with training.observed(lambda label, distiller, loader, callbacks: callbacks.append(heard)):
        found = trained(cell, "stopped")
    [(done, of)] = steps
    assert heard.batches == [(e, b) for e in range(epoch, 2) for b in range(done if e == epoch else 0, of)]
    return found


def same(one, other):
    """Whether two final states are the same to the bit, times aside."""
    (arrays, meta), (others, other_meta) = one, other
    for told in (meta, other_meta):
        for row in (told, *told["rows"]):
            row.pop("seconds")
    return meta == other_meta and all(np.array_equal(a, b) for a, b in zip(arrays, others, strict=True))


def test_the_cells_of_the_suite_are_few_and_hold_every_pair():
    pairwise = covering(2)
    assert len(pairwise) <= 24
    for one, other in itertools.combinations(FACTORS, 2):
        pairs = {(cell[one], cell[other]) for cell in pairwise}
        assert pairs == set(itertools.product(FACTORS[one], FACTORS[other]))


@pytest.mark.slow
@pytest.mark.parametrize("cell", list(cells()))
def test_a_fit_that_was_stopped_ends_as_one_that_was_not(trained, cell, record_property):
    for name in ("moment", "fit", "logits", "precision"):
        record_property(name, cell[name])
    filling = Filling()
    whole = trained(cell, "whole", filling=filling)
    assert len(whole[1]["rows"]) == 2 and len(whole[0]) > 20
    assert same(interrupted(trained, cell, filling), whole)


CELL = {name: next(iter(levels)) for name, levels in FACTORS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("forgotten", ["generators", "metrics", "averages"])
def test_the_comparison_sees_what_a_state_forgets(trained, monkeypatch, forgotten):
    """The negative control: where a part of the state is not put back, the end is another one."""
    cell = {**CELL, "terms": "on logits"}
    whole = trained(cell, "whole")
    if forgotten == "generators":
        monkeypatch.setattr(generators, "put_back", lambda taken: None)
    put_back = Keeper.put_back

    def forgetting(self):
        figures = put_back(self)
        for variable in {"metrics": self.counters()[:-1], "averages": self.variables[-1:]}.get(forgotten, ()):
            variable.assign(keras.ops.zeros_like(variable.value))
        return figures

    monkeypatch.setattr(Keeper, "put_back", forgetting)
    assert not same(interrupted(trained, cell), whole)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["skipped", "written twice"])
def test_the_comparison_sees_a_chunk_of_outputs_that_is_skipped_or_written_twice(trained, monkeypatch, wrong):
    cell = {**CELL, "fit": "outputs", "terms": "on logits", "teachers": "one"}
    filling = Filling()
    whole = trained(cell, "whole", filling=filling)
    write, before = ChunkedArray.write, []

    def writing(self, chunk, rows):
        instead = {"skipped": np.zeros_like(rows), "written twice": before[-1] if before else rows}
        write(self, chunk, instead[wrong] if chunk == 1 else rows)
        before.append(rows)

    monkeypatch.setattr(ChunkedArray, "write", writing)
    assert not same(interrupted(trained, cell, filling), whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("during", ["on_train_batch_begin", "on_test_batch_begin"])
def test_a_signal_stops_a_fit_after_a_step_whose_state_is_saved(trained, tmp_path, number, during):
    """A step that it comes into is done; where it comes into validation, that ends and one step more is taken."""
    cell = {name: list(levels)[-1] for name, levels in FACTORS.items()} | {"fit": "kd"}
    asked = []

    def send(batch, logs=None):
        if batch == 0 and not asked:
            asked.append(os.kill(os.getpid(), number))

    def signalled(label, distiller, loader, callbacks):
        one = keras.callbacks.Callback()
        setattr(one, during, send)
        callbacks.append(one)

    rarely = "train.save_every_seconds=1000"
    error = Preempted if number == signal.SIGTERM else KeyboardInterrupt
    with training.observed(signalled), pytest.raises(error), stoppable():
        trained(cell, "stopped", rarely)
    state = StateFolder(tmp_path / "stopped" / "state").load()[1]
    assert state["steps"] == 1 and len(state["rows"]) == (0 if during == "on_train_batch_begin" else 1)
    assert same(trained(cell, "stopped", rarely), trained(cell, "whole", rarely))


@pytest.mark.parametrize(("every", "cost", "saves"), [(60, 0.5, 5), (60, 2.0, 3), (0, 2.0, 300)])
def test_saves_take_under_two_percent_however_long_one_takes(tmp_path, monkeypatch, every, cost, saves):
    clock = [0.0]
    monkeypatch.setattr(keeping.time, "monotonic", lambda: clock[0])
    saved = []

    class Slow(StateFolder):
        def save(self, arrays, meta):
            clock[0] += cost
            saved.append(clock[0])

    keeper = Keeper([], Slow(tmp_path), "kd-0", lambda rows: None, every=every)
    keeper.on_train_begin()
    for batch in range(300):  # of a second each
        clock[0] += 1
        keeper.on_train_batch_end(batch)
    assert len(saved) == saves


def test_a_second_signal_stops_a_fit_at_once(trained, tmp_path):
    cell = {name: list(levels)[-1] for name, levels in FACTORS.items()} | {"fit": "kd"}
    after = []

    def signalled(label, distiller, loader, callbacks):
        one = keras.callbacks.Callback()

        def twice(batch, logs=None):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            after.append(batch)

        one.on_train_batch_begin = twice
        callbacks.append(one)

    with training.observed(signalled), pytest.raises(KeyboardInterrupt), stoppable():
        trained(cell, "stopped")
    assert not after and StateFolder(tmp_path / "stopped" / "state").load() is None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_ctrl_c_that_is_ignored_or_handled_stays_so():
    before = signal.getsignal(signal.SIGINT)
    try:
        for handler in (signal.SIG_IGN, lambda number, frame: None):
            signal.signal(signal.SIGINT, handler)
            with stoppable():
                assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
