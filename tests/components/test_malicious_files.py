"""Files that are made to run code, to read other files or to fill the memory: each is refused with one message."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from hostile_files import CONFIGS, HARMS, weights_of, with_parts
from side_effects import Runs, ran, watched

from kdrecipes.backend import keras
from kdrecipes.components.datasets import arrays
from kdrecipes.components.exporters.torch_program import TorchProgram
from kdrecipes.components.models import file
from kdrecipes.components.models.weights import load_keras_weights, read_arrays
from kdrecipes.disk.numpy_files import read_npy
from kdrecipes.errors import KDRecipesError
from kdrecipes.report.pictures import read_pictures
from kdrecipes.report.predictions import called, read_predictions
from kdrecipes.report.same_test import same_names
from kdrecipes.report.sweep_validation import read_right
from kdrecipes.runs.shared_arms import kept_arm
from kdrecipes.training import state


@pytest.fixture(autouse=True)
def nothing_ran():
    """Whatever a test opens, nothing of it has run."""
    ran.clear()
    yield
    assert ran == []


def refused(open_it) -> str:
    """The one message with which a file is refused; nothing is unpickled, started or asked for meanwhile."""
    with watched() as done, pytest.raises(KDRecipesError) as caught:
        open_it()
    assert [what for what in done if not what.startswith(("wrote", "os."))] == []
    return str(caught.value)


# ---- NumPy's files


@pytest.fixture
def pickled(tmp_path) -> Path:
    """An .npz file whose arrays are pickles that run code."""
    objects = np.array([Runs()], object)
    np.savez(tmp_path / "x.npz", images=objects, labels=objects, index=objects)
    return tmp_path / "x.npz"


def test_the_pickle_would_run(pickled):
    np.load(pickled, allow_pickle=True)["images"]
    assert ran == ["unpickled"]
    ran.clear()


def test_arrays_of_objects_are_never_unpickled(pickled):
    assert "x.npz" in refused(lambda: arrays.build(path=str(pickled))[0])
    assert "can't be read" in refused(lambda: read_arrays(pickled))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_predictions(pickled)


def huge(descr: str = "<f8") -> bytes:
    """An .npy file that says it holds 2**40 numbers."""
    header = str({"descr": descr, "fortran_order": False, "shape": (2**40,)}).ljust(117) + "\n"
    return np.lib.format.magic(1, 0) + struct.pack("<H", len(header)) + header.encode()


def npz(path: Path, **parts: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(f"{name}.npy", content)
    return path


def state_of(path: Path, payload: bytes) -> Path:
    """A state whose checksum is right, whatever it holds."""
    state.save(path, [], {})
    magic = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(magic + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
    return path


def states(path: Path) -> dict[str, bytes]:
    """What a state may hold that nobody saved."""
    objects, lists = io.BytesIO(), io.BytesIO()
    np.savez(objects, a0=np.array([Runs()], object), meta=np.frombuffer(b"{}", np.uint8))
    np.savez(lists, a1=np.zeros(2), meta=np.frombuffer(b"{}", np.uint8))
    return {
        "a pickle": objects.getvalue(),
        "a huge array": npz(path / "huge.npz", a0=huge(), meta=huge("<u1")).read_bytes(),
        "a huge array of nothing": npz(path / "void.npz", a0=huge("|V0"), meta=huge("<u1")).read_bytes(),
        "other arrays": lists.getvalue(),
        "no archive": b"{}",
        "deep JSON": npz(path / "deep.npz", meta=npy(np.frombuffer(b"[" * 100_000, np.uint8))).read_bytes(),
        "JSON of another kind": npz(path / "list.npz", meta=npy(np.frombuffer(b"[1]", np.uint8))).read_bytes(),
    }


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def test_a_state_is_never_unpickled_and_the_one_before_it_used_even_where_its_checksum_is_right(tmp_path):
    for what, payload in states(tmp_path).items():
        kept = state.StateFolder(tmp_path / what)
        kept.save([np.ones(2)], {"label": "kd-0"})
        kept.last.replace(kept.prev)
        state_of(kept.last, payload)
        with watched() as done, pytest.warns(UserWarning, match="last is damaged; continuing from .*prev"):
            found = kept.load()
        assert found is not None and found[1] == {"label": "kd-0"} and done == [], what
        state_of(kept.prev, payload)
        with pytest.warns(UserWarning, match="is damaged; the fit begins again"):
            assert kept.load() is None


def test_an_array_that_says_it_is_huge_is_refused_before_memory_is_asked_for(tmp_path):
    file = npz(tmp_path / "x.npz", images=huge(), labels=huge())
    said = "images.npy says it has 8,796,093,022,208 bytes, of which it holds 128"
    assert said in refused(lambda: read_arrays(file))
    assert said in refused(lambda: arrays.build(path=str(file)))
    (tmp_path / "x.npy").write_bytes(huge())
    with pytest.raises(ValueError, match=r"x\.npy says it has 8,796,093,022,208 bytes, of which it holds 128"):
        read_npy(tmp_path / "x.npy")


def run_files(run: Path) -> dict[str, Callable[[], object]]:
    """The arrays of a run, a point, a kept student and a store, and who reads them."""
    (run / "facts").mkdir(parents=True)
    facts = SimpleNamespace(logits={}, teachers={}, labels=np.zeros(1, int), dataset=SimpleNamespace(classes=["a"]))
    (run / "arm.json").write_text("{}")
    return {
        "predictions.npz": lambda: read_predictions(run / "predictions.npz"),
        "predictions.npz/names": lambda: called(run / "predictions.npz", np.zeros(1, int)),
        "predictions.npz/same": lambda: same_names(run / "predictions.npz", run / "predictions.npz"),
        "facts/pictures.npz": lambda: read_pictures(run, facts),
        "validation.npz": lambda: read_right(run),
    }


def test_no_array_of_a_run_unpickles_or_fills_the_memory(tmp_path):
    run = tmp_path / "run"
    parts = ["index", "labels", "logits", "names", "networks"]
    hostile = {
        "pickle": npz(tmp_path / "a.npz", **{part: npy(np.array([Runs()], object)) for part in parts}),
        "bomb": npz(tmp_path / "b.npz", **{part: huge() for part in parts}),
        "void": npz(tmp_path / "c.npz", **{part: huge("|V0") for part in parts}),
        "text": npz(tmp_path / "d.npz", **dict.fromkeys(parts, b"no array")),
    }
    for name, read in run_files(run).items():
        for kind, content in hostile.items():
            shutil.copyfile(content, run / name.removesuffix("/names").removesuffix("/same"))
            with watched() as done, pytest.raises((ValueError, KDRecipesError)):
                read()
            assert done == [], (name, kind)
    shutil.copyfile(hostile["pickle"], run / "validation.npz")
    (run / "arm.json").write_text("{}")
    with pytest.warns(UserWarning, match="run holds a damaged student .*; it is trained again"):
        assert kept_arm(run) is None


def test_an_array_that_unpacks_to_gigabytes_is_refused_before_it_does(tmp_path):
    archive = zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("images.npy", "w", force_zip64=True) as part:
        for _ in range(9):
            part.write(bytes(2**25))
    assert "unpacks to 301,989,888 bytes" in refused(lambda: read_arrays(tmp_path / "x.npz"))
    assert "unpacks to 301,989,888 bytes" in refused(lambda: arrays.build(path=str(tmp_path / "x.npz")))


def test_a_safetensors_header_that_says_it_is_huge_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    assert "can't be read" in refused(lambda: read_arrays(tmp_path / "x.safetensors"))
    huge = json.dumps({"a": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(huge)) + huge)
    assert "can't be read" in refused(lambda: read_arrays(tmp_path / "x.safetensors"))


# ---- Keras' files


@pytest.fixture
def saved(tmp_path) -> Path:
    inputs = keras.Input((4, 4, 3))
    keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs))).save(tmp_path / "x.keras")
    return tmp_path / "x.keras"


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_keras_file_whose_config_names_code_or_files_is_refused(saved, config):
    assert "can't be opened" in refused(lambda: file.build(str(with_parts(saved, {"config.json": config}))))


@pytest.mark.parametrize("harm", HARMS)
def test_weights_that_lead_to_other_files_or_fill_the_memory_are_refused(saved, tmp_path, harm):
    weights = weights_of(saved, harm)
    model = file.build(str(saved))
    (tmp_path / "x.weights.h5").write_bytes(weights)
    refused(lambda: load_keras_weights(model, tmp_path / "x.weights.h5"))
    refused(lambda: file.build(str(with_parts(saved, {"model.weights.h5": weights}))))


@pytest.mark.slow
def test_a_part_that_unpacks_to_gigabytes_is_refused(saved):
    bomb = b"[" + b" " * 2**28 + b"]"
    assert "can't be opened" in refused(lambda: file.build(str(with_parts(saved, {"config.json": bomb}))))


def test_a_whole_model_in_hdf5_is_refused_unopened(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as opened:
        opened.attrs["model_config"] = "{}"
    assert "must be a .keras file" in refused(lambda: file.build(str(tmp_path / "x.h5")))


# ---- torch's files


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("program") / "x.pt2"
    batch = {0: torch.export.Dim("batch", min=1, max=8)}
    pixels = torch.zeros(2, 4, 4, 3)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    torch.export.save(torch.export.export(network, (pixels,), dynamic_shapes=({**batch},)), str(path))
    return path


def changed(program: Path, to: Path, end: str, change) -> Path:
    """A copy of a program in which the part whose name ends so is changed."""
    with zipfile.ZipFile(program) as archive, zipfile.ZipFile(to, "w") as copy:
        names = archive.namelist()
        assert any(name.endswith(end) for name in names), names
        for name in names:
            content = archive.read(name)
            copy.writestr(name, change(content) if name.endswith(end) else content)
    return to


def opened(path: Path):
    return TorchProgram().load(path)


def test_a_program_of_numbers_and_operations_is_opened(program):
    assert opened(program)(np.zeros((3, 4, 4, 3), np.float32)).shape == (3, 2)


def torch_pickle() -> bytes:
    stream = io.BytesIO()
    torch.save(((Runs(),), {}), stream)
    return stream.getvalue()


def test_a_program_that_brings_a_pickle_is_refused(program, tmp_path):
    path = changed(program, tmp_path / "x.pt2", "sample_inputs/model.pt", lambda content: torch_pickle())
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        opened(path)


@pytest.mark.parametrize(
    ("end", "old", "new", "said"),
    [
        ("weights_config.json", b'"use_pickle": false', b'"use_pickle": true', "is a pickle, which is never opened"),
        ("constants_config.json", b'{"config": {', b'{"config": {"a": {"path_name": "opaque_obj_0"}', "is a pickle"),
        ("model.json", b"Symbol('s", b"exec('s", "is code, which is never run"),
        ("model.json", b"Symbol('s", b"().__class__.__base__, Symbol('s", "is code, which is never run"),
    ],
)
def test_a_program_that_names_code_is_refused(program, tmp_path, end, old, new, said):
    def change(content: bytes) -> bytes:
        assert old in content, content[:500]
        return content.replace(old, new, 1)

    with pytest.raises(ValueError, match=said):
        opened(changed(program, tmp_path / "x.pt2", end, change))


def test_a_program_with_compiled_code_or_two_parts_of_one_name_is_refused(program, tmp_path):
    warnings.simplefilter("ignore")  # of Python, on parts of one name
    for name, said in (("x/data/aotinductor/model/a.so", "is code"), ("x/byteorder", "have one name")):
        path = changed(program, tmp_path / "x.pt2", "", lambda content: content)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"")
        with pytest.raises(ValueError, match=said):
            opened(path)
