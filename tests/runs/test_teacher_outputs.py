"""Teacher outputs on disk: what the live teacher says, whatever interrupts, damages or extends the filling."""

from __future__ import annotations

import json
import shutil
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import settings_of

from kdrecipes.backend import seed_everything
from kdrecipes.components.models import cnn
from kdrecipes.data.examples import ViewSettings
from kdrecipes.data.loader import Loader
from kdrecipes.data.splits import Split
from kdrecipes.data.store import Store
from kdrecipes.disk import chunked_array as chunked
from kdrecipes.disk.files import locked
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.runs import teacher_outputs
from kdrecipes.runs.teacher_outputs import count_views, open_outputs
from kdrecipes.training.inference import Inference

N, SIDE, SIZE, CLASSES = 22, 6, 8, 4
SHIFTED = settings_of({"flip": True, "crop_padding": 2}, seed=3)
BOXES = settings_of({"flip": True, "random_resized_crop": {"scale": [0.3, 1.0], "ratio": [0.75, 1.333]}}, seed=3)
MIXED = settings_of({"flip": True, "mixup": 0.4}, seed=3)
PLAIN = settings_of({"flip": False, "crop_padding": 0}, seed=3)


def made_split(seed: int = 0) -> Split:
    images = np.random.default_rng(seed).integers(0, 256, (N + 3, SIDE, SIDE, 3), np.uint8)
    labels, index = np.arange(N + 3) % CLASSES, 100 + 2 * np.arange(N + 3)
    store = Store(images, labels, index, list("abcd"), f"fingerprint {seed}", 0, [])
    return Split(store, np.random.default_rng(1).permutation(N + 3)[:N])


SPLIT = made_split()


class Teacher:
    """Logits of the images' colours; counts the rows that it is asked for, and fails after some of them."""

    def __init__(self, scale: float = 0.1, fail_after: int = 10**9):
        self.scale, self.fail_after, self.rows = scale, fail_after, 0
        self.batches: list[int] = []

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        assert image.dtype == torch.float32 and image.shape[1:] == (SIZE, SIZE, 3) and torch.is_inference_mode_enabled()
        if self.rows >= self.fail_after:
            raise KeyboardInterrupt
        self.batches.append(len(image))
        self.rows += len(image)
        colours = image.mean((1, 2)) * self.scale
        return torch.cat([colours, colours.diff(dim=1).sum(1, keepdim=True)], 1)


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """A home of its own, chunks of 8 rows (8, 8, 6 of an epoch's 22), batches of 3."""
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path))
    monkeypatch.setattr(chunked, "CHUNK", 8)
    monkeypatch.setattr(teacher_outputs, "_BATCH", 3)
    return tmp_path / "outputs"


def opened(teacher=None, split=SPLIT, settings=SHIFTED, epochs=2, facts=("weights",), **options):
    teacher = teacher or Teacher()
    return open_outputs(teacher, split, SIZE, settings, epochs, CLASSES, list(facts), name="t", **options)


def everything(outputs) -> np.ndarray:
    return np.stack([outputs(epoch, np.arange(outputs.shape[0])) for epoch in range(outputs.epochs)])


def folder_of(outputs_folder: Path) -> Path:
    (folder,) = (path for path in outputs_folder.iterdir() if path.name != ".locks")
    return folder


# --- what is stored ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [SHIFTED, BOXES, MIXED, PLAIN], ids=["shifted", "boxes", "mixed", "plain"])
def test_outputs_are_the_live_teachers_at_another_batch_size(settings):
    """To half a unit of float16 and 1e-4 of the largest logit, over whole epochs."""
    seed_everything(0)
    live = Inference(cnn.build(CLASSES, SIZE, width=4, depth=2))
    outputs = opened(live, settings=settings, epochs=3)
    loader = Loader(SPLIT, 5, SIZE, settings=settings, order_seed=7, teachers={"t": outputs})
    seen = []
    for loader.epoch in range(3):
        for batch in range(len(loader)):
            x, _ = loader[batch]
            with torch.no_grad():
                expected = live(x["image"]).numpy()
            assert x["teacher"]["t"].dtype == torch.float16 and x["teacher"]["t"].shape == expected.shape
            allowed = np.spacing(np.abs(expected).astype(np.float16)) / 2 + 1e-4 * np.abs(expected).max()
            assert (np.abs(x["teacher"]["t"].float().numpy() - expected) <= allowed).all()
            seen += [(loader.epoch, int(i)) for i in x["index"]]
    assert sorted(seen) == [(epoch, i) for epoch in range(3) for i in range(N)]
    epochs = everything(outputs)
    assert (epochs[0] == epochs[1]).all() == (settings is PLAIN)


def test_rows_are_the_callers_own_and_memory_mapped():
    outputs = opened()
    rows = outputs(1, np.array([5, 5, 0]))
    assert type(rows) is np.ndarray and rows.shape == (3, CLASSES) and (rows[0] == rows[1]).all()
    before = rows.copy()
    rows[:] = 0
    assert (outputs(1, np.array([5, 5, 0])) == before).all() and before.any()
    assert isinstance(outputs._map[1], np.memmap) and not outputs._map[1].flags.writeable


def test_sizes_are_those_on_disk(small):
    outputs = opened()
    files = [path.stat().st_size for path in folder_of(small).glob("*.float16")]
    assert outputs.bytes == sum(files) == count_views(N, SHIFTED, 2) * CLASSES * 2 == 2 * N * CLASSES * 2
    assert outputs.rows == outputs.computed == 2 * N and outputs.seconds > 0
    assert count_views(N, PLAIN, 50) * CLASSES * 2 == N * CLASSES * 2


def test_without_views_one_epoch_serves_all():
    first = opened(settings=PLAIN, epochs=2)
    again = opened(teacher := Teacher(), settings=ViewSettings(seed=8), epochs=5)
    assert first.computed == N and teacher.rows == 0
    assert (everything(again) == everything(first)[0]).all()


def test_batches_are_large_and_bounded_in_pixels(monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK", 2048)
    monkeypatch.setattr(teacher_outputs, "_BATCH", 512)
    opened(teacher := Teacher(), epochs=1)
    assert teacher.batches == [N]
    monkeypatch.setattr(teacher_outputs, "_BATCH_PIXELS", 9 * SIZE * SIZE)
    opened(teacher := Teacher(), epochs=1, facts=["other"])
    assert teacher.batches == [9, 9, 4]


def test_progress_is_counted_in_views():
    calls: list[tuple[int, int]] = []
    opened(epochs=1, progress=lambda *counts: calls.append(counts))
    assert calls == [(done, N) for done in (0, 3, 6, 8, 11, 14, 16, 19, 22)]
    calls.clear()
    opened(epochs=2, progress=lambda *counts: calls.append(counts))
    assert calls[0] == (N, 2 * N) and calls[-1] == (2 * N, 2 * N)
    calls.clear()
    opened(epochs=2, progress=lambda *counts: calls.append(counts))
    assert calls == []


# --- the key ----------------------------------------------------------------------------------------------------------


def test_a_second_opening_computes_nothing():
    first = opened()
    again = opened(teacher := Teacher())
    assert (again.computed, again.seconds, teacher.rows) == (0, 0.0, 0)
    assert (everything(again) == everything(first)).all()


def test_more_epochs_extend_fewer():
    short = everything(opened(epochs=1))
    longer = opened(teacher := Teacher(), epochs=3)
    assert longer.computed == teacher.rows == 2 * N
    assert (everything(longer)[:1] == short).all()
    assert opened(epochs=2).computed == 0


@pytest.mark.parametrize(
    "change",
    [
        {"facts": ["other weights"]},
        {"split": made_split(9)},
        {"split": Split(SPLIT.store, SPLIT.positions[::-1].copy())},
        {"settings": replace(SHIFTED, seed=4)},
        {"settings": settings_of({"flip": True, "crop_padding": 1}, seed=3)},
        {"settings": BOXES},
    ],
    ids=["weights", "content", "positions", "seed", "views", "kind of view"],
)
def test_whatever_decides_a_logit_is_in_the_key(change, small):
    before = opened()
    other = opened(**change)
    assert other.computed == 2 * N and other.folder != before.folder
    assert opened().computed == 0


def test_size_and_classes_are_in_the_key():
    teacher = lambda image: image.mean((1, 2))  # noqa: E731
    folders = {open_outputs(teacher, SPLIT, size, SHIFTED, 1, 3, [], name="t").folder for size in (SIZE, SIZE + 1)} | {
        open_outputs(lambda i: teacher(i)[:, :2], SPLIT, SIZE, SHIFTED, 1, 2, [], name="t").folder
    }
    assert len(folders) == 3


# --- interruption and damage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "kept"), [(0, 0), (1, 0), (8, 8), (17, 16), (22, 22), (38, 38), (41, 38)])
def test_an_interrupted_filling_continues_where_it_stopped(after, kept, monkeypatch, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        opened(Teacher(fail_after=after))
    continued = opened(teacher := Teacher())
    assert continued.computed == teacher.rows == 2 * N - kept
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "another"))
    assert (everything(opened()) == everything(continued)).all()


def test_a_chunk_that_was_written_and_not_journaled_is_computed_again(monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(chunked, "write_json", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        opened()
    assert opened().computed == 2 * N


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def swap(folder: Path) -> None:
    for end in ("float16", "float16.json"):
        first, second = folder / f"epoch-0000.{end}", folder / f"epoch-0001.{end}"
        first.rename(folder / "x")
        second.rename(first)
        (folder / "x").rename(second)


ROW = CLASSES * 2
SPOILS = {
    "a byte in the second chunk": (lambda f: flip(f / "epoch-0000.float16", 9 * ROW), 8),
    "the last byte": (lambda f: flip(f / "epoch-0001.float16", N * ROW - 1), 6),
    "cut in the second chunk": (lambda f: (f / "epoch-0000.float16").open("r+b").truncate(9 * ROW), 14),
    "empty": (lambda f: (f / "epoch-0000.float16").write_bytes(b""), N),
    "removed": (lambda f: (f / "epoch-0000.float16").unlink(), N),
    "no journal": (lambda f: (f / "epoch-0000.float16.json").unlink(), N),
    "torn journal": (lambda f: (f / "epoch-0000.float16.json").write_text('["ab'), N),
    "journal of other rows": (lambda f: (f / "epoch-0000.float16.json").write_text('["ab"]'), N),
    "journal of another kind": (lambda f: (f / "epoch-0000.float16.json").write_text('{"a": 1}'), N),
    "epochs exchanged": (swap, 2 * N),
    "no facts": (lambda f: (f / "meta.json").unlink(), 2 * N),
    "torn facts": (lambda f: (f / "meta.json").write_text("{"), 2 * N),
    "facts of another kind": (lambda f: (f / "meta.json").write_text('{"dtype": "int8"}'), 2 * N),
}


@pytest.mark.parametrize(("spoil", "rows"), SPOILS.values(), ids=SPOILS)
def test_damage_is_found_told_and_mended_where_it_is(spoil, rows, small):
    whole = everything(opened())
    spoil(folder_of(small))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        mended = opened()
    assert mended.computed == rows and (everything(mended) == whole).all()
    silent = spoil in (SPOILS["no journal"][0], SPOILS["no facts"][0])  # as an interrupted run leaves it
    assert silent or any("computed again" in str(warning.message) for warning in told)
    assert opened().computed == 0


def test_a_stale_journal_beside_other_rows_is_found(small):
    """As a restored backup may leave it: one teacher's journal, another's rows."""
    opened()
    first = folder_of(small)
    second = opened(Teacher(scale=0.2), facts=["other"])
    wanted = everything(second)
    shutil.copy(first / "epoch-0000.float16.json", second.folder)
    with pytest.warns(UserWarning, match="3 of 3 chunks are damaged and are computed again"):
        mended = opened(Teacher(scale=0.2), facts=["other"])
    assert mended.computed == N and (everything(mended) == wanted).all()


def test_damage_that_was_found_stays_known_when_the_mending_is_interrupted(small):
    whole = everything(opened())
    flip(folder_of(small) / "epoch-0001.float16", 0)
    with pytest.warns(UserWarning, match="1 of 3 chunks"), pytest.raises(KeyboardInterrupt):
        opened(Teacher(fail_after=0))
    mended = opened()
    assert mended.computed == 8 and (everything(mended) == whole).all()


def test_what_a_killed_process_left_is_cleaned_up(small):
    opened()
    left = folder_of(small) / ".epoch-0000.float16.json.0123456789ab"
    left.write_text("[")
    assert opened().computed == 0 and not left.exists()


def test_two_runs_fill_once(small):
    """The second waits for the first, says so, and finds its outputs."""
    folder = opened().folder
    notes = []
    with ExitStack() as first:
        first.enter_context(locked(small / ".locks" / folder.name))

        def note(text: str) -> None:
            notes.append(text)
            first.close()

        outputs = opened(note=note)
    assert outputs.computed == 0
    assert notes == [f"another run is computing these teacher outputs in {folder}; waiting for it"]


# --- range, refusals --------------------------------------------------------------------------------------------------


def test_logits_that_leave_float16_make_the_whole_entry_float32():
    assert opened(epochs=1).dtype == np.float16
    outputs = opened(teacher := Teacher(600))  # seen in the second epoch's first chunk
    assert teacher.rows == 8 + 2 * N
    assert outputs.dtype == np.float32 and outputs.computed == 2 * N and outputs.bytes == 2 * N * CLASSES * 4
    assert not list(outputs.folder.glob("*.float16*"))
    x, _ = Loader(SPLIT, N, SIZE, settings=SHIFTED)[0]
    with torch.inference_mode():
        np.testing.assert_allclose(outputs(0, np.arange(N)), Teacher(600)(x["image"]), rtol=1e-6, atol=1e-2)
    again = opened(counted := Teacher(600))
    assert (again.dtype, again.computed, counted.rows) == (np.float32, 0, 0)


@pytest.mark.parametrize("largest, dtype", [(60_000.0, "float16"), (-60_000.0, "float16"), (-60_010.0, "float32")])
def test_float16_is_kept_up_to_60000(largest, dtype):
    outputs = opened(lambda image: torch.full((len(image), CLASSES), largest), epochs=1)
    assert outputs.dtype == dtype and (outputs(0, np.arange(N)) == np.array(largest, dtype)).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused_with_the_epoch_and_their_number(bad):
    opened(epochs=1)

    def teacher(image):
        logits = torch.zeros(len(image), CLASSES)
        logits[1:, 2] = bad
        return logits

    with pytest.raises(RunError, match=r"not finite for 2 of 3 training images as epoch 2 shows them\. .*other views"):
        opened(teacher)
    assert opened(epochs=1).computed == 0


def test_logits_of_another_width_are_refused():
    with pytest.raises(RunError, match=r"must have the shape \(3, 4\)\. Received: \(3, 7\)"):
        opened(lambda image: torch.zeros(len(image), 7))


def test_half_precision_logits_are_taken():
    outputs = opened(lambda image: Teacher()(image).to(torch.bfloat16))
    assert np.abs(everything(outputs) - everything(opened(facts=["float32"]))).max() < 0.2


def test_a_disk_without_room_is_told_before_anything_is_computed(monkeypatch):
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=300))
    message = r"outputs need 352 B under .* 300 B is free.*KDRECIPES_HOME.*teacher\.cache = \"off\""
    with pytest.raises(EnvironmentProblem, match=message):
        opened(teacher := Teacher())
    assert teacher.rows == 0


def test_a_file_in_the_way_is_named(small):
    small.write_text("a file")
    with pytest.raises(EnvironmentProblem, match=r"outputs.* can't be written"):
        opened()


def test_outputs_removed_while_they_are_used_are_told(small):
    outputs = opened()
    outputs(0, np.arange(3))
    shutil.rmtree(small)
    assert len(outputs(0, np.arange(3))) == 3  # what is mapped stays
    with pytest.raises(EnvironmentProblem, match="removed or changed while a run used them"):
        outputs(1, np.arange(3))


@pytest.mark.parametrize("settings", [SHIFTED, PLAIN])
def test_an_epoch_that_was_not_asked_for_is_an_error(settings):
    outputs = opened(settings=settings)
    for epoch in (-1, 2):
        with pytest.raises(IndexError, match=f"epoch {epoch} of 2"):
            outputs(epoch, np.arange(2))
    with pytest.raises(IndexError):
        outputs(0, np.array([N]))


def test_the_facts_stand_in_the_folder(small):
    opened(facts=["abc", {"variant": "lite0"}])
    meta = json.loads((folder_of(small) / "meta.json").read_text())
    assert meta["facts"] == ["abc", {"variant": "lite0"}] and meta["dtype"] == "float16"
    assert (meta["name"], meta["size"], meta["seed"]) == ("t", SIZE, 3)


@pytest.mark.slow
def test_many_passes_over_few_examples_share_files_and_say_the_same(monkeypatch):
    """Ten labels and a heap of images are thousands of passes, and would be thousands of files."""
    monkeypatch.setattr(chunked, "CHUNK", 2048)
    monkeypatch.setattr(teacher_outputs, "_BATCH", 512)
    few = Split(SPLIT.store, SPLIT.positions[:3])
    outputs = opened(split=few, epochs=1000)
    assert len(list(outputs.folder.glob("*.float16"))) == 2, "682 passes to a file"
    assert outputs.computed == outputs.rows == 3000, "told of are the 1,000 passes, not the 1,364 that the files hold"
    in_files_of_their_own = opened(split=few, epochs=5)
    assert in_files_of_their_own.folder == outputs.folder
    for number in (0, 1, 4):
        assert np.array_equal(outputs(number, np.arange(3)), in_files_of_their_own(number, np.arange(3)))
    assert not np.array_equal(outputs(999, np.arange(3)), outputs(998, np.arange(3)))
    assert outputs(700, np.array([2])).shape == (1, CLASSES)
    assert opened(split=few, epochs=1000).computed == 0
