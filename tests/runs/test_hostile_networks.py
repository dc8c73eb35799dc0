"""A network's file from a stranger, opened as a student: one message, nothing run, nothing written."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hostile_files import CONFIGS, HARMS, weights_of, with_parts
from onnx import TensorProto, helper
from side_effects import watched
from typer.testing import CliRunner

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.cli.main import app
from kdrecipes.components.models import file as keras_file
from kdrecipes.disk.json_files import read_json
from kdrecipes.disk.saved_facts import SavedFacts, write_beside
from kdrecipes.errors import KDRecipesError, RunError, UsageError
from kdrecipes.report.build import rebuild_report
from kdrecipes.runs.push import push

FACTS = SavedFacts(["a", "b"], 4, "squash", 4, "cnn", {}, "0" * 64, [0, 0, 0], 89_478_485)
PIXELS = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    inputs = keras.Input((4, 4, 3))
    path = tmp_path_factory.mktemp("kept") / "x.keras"
    keras.Model(inputs, keras.layers.Dense(2, name="dense")(keras.layers.Flatten()(inputs))).save(path)
    write_beside(path, FACTS)
    return path


@pytest.fixture
def saved(kept, tmp_path) -> Path:
    for one in (kept, kept.with_suffix(".json")):
        shutil.copyfile(one, tmp_path / one.name)
    return tmp_path / kept.name


def refused(path: Path) -> str:
    """The one message with which a network is refused; nothing is written, started or asked for meanwhile."""
    with watched() as done, pytest.raises(KDRecipesError) as caught:
        kdrecipes.load_student(path).predict([PIXELS])
    assert done == [] and str(path) in str(caught.value)
    return str(caught.value)


def test_what_is_sound_is_opened(saved):
    assert kdrecipes.load_student(saved).predict([PIXELS]).shape == (1, 2)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_student_whose_config_names_code_or_files_is_refused(saved, config):
    assert "can't be opened" in refused(with_parts(saved, {"config.json": config}))


@pytest.mark.parametrize("harm", HARMS)
def test_a_student_whose_weights_lead_elsewhere_or_fill_the_memory_is_refused(saved, harm):
    assert "can't be opened" in refused(with_parts(saved, {"model.weights.h5": weights_of(saved, harm)}))


@pytest.mark.parametrize("name", ["..", "../../../../../../{}/evil", "/{}/evil", "..\\\\..\\\\evil"])
def test_a_layers_name_leads_to_no_folder(saved, tmp_path, name):
    """CVE-2026-12479: where a layer has files of its own, its name was a path."""
    with zipfile.ZipFile(saved) as archive:
        config = archive.read("config.json").decode()
    named = json.dumps(name.format(tmp_path))
    hostile = with_parts(saved, {"config.json": config.replace('"dense"', named).encode(), "assets/x": b""})
    for open_it in (lambda: keras_file.build(str(hostile)), lambda: kdrecipes.load_student(hostile)):
        with watched() as done, pytest.raises(KDRecipesError, match="can't be opened"):
            open_it()
        assert not [what for what in done if "evil" in what]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.keras"]


def test_a_part_of_the_archive_is_unpacked_into_no_other_folder(saved, tmp_path):
    names = [f"assets/../../../../../..{tmp_path}/evil", f"../../../../../..{tmp_path}/evil", f"{tmp_path}/evil"]
    hostile = with_parts(saved, dict.fromkeys(names, b"x"))
    keras_file.build(str(hostile))
    kdrecipes.load_student(hostile)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.keras"]


@pytest.mark.slow
def test_parts_that_fill_the_disk_together_are_refused(saved):
    hostile = with_parts(saved, {f"assets/{i}": bytes(2**26) for i in range(5)})
    assert "its parts together unpack to 335,5" in refused(hostile)
    with pytest.raises(KDRecipesError, match="unpack to"):
        keras_file.build(str(hostile))


@pytest.mark.parametrize("content", [b"", b"garbage" * 50, b"PK\x03\x04" + bytes(40), b"<net/>", b"[" * 100_000])
@pytest.mark.parametrize("ending", [".keras", ".safetensors", ".onnx", ".pt2", ".xml"])
def test_a_file_of_another_kind_is_one_message(tmp_path, ending, content):
    path = tmp_path / f"x{ending}"
    path.write_bytes(content)
    path.with_suffix(".bin").write_bytes(b"")
    write_beside(path, FACTS)
    with pytest.raises(KDRecipesError, match="can't be"):
        kdrecipes.load_student(path)


@pytest.mark.parametrize("side", [4097, 10**9, 10**30, -1, True, "4"])
def test_what_a_file_says_of_itself_does_not_fill_the_memory(saved, side):
    told = saved.with_suffix(".json")
    for key in ("image_size", "store_size"):
        told.write_text(json.dumps(json.loads(told.read_text()) | {key: side}))
        assert "not as kdrecipes writes it" in refused(saved)
    told.write_text("[" * 100_000)
    assert "RecursionError" in refused(saved)


# ---- ONNX


def weight(*shape: int, content: bytes | None = None, at: str = "") -> TensorProto:
    made = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=shape)
    if at:
        made.data_location = TensorProto.EXTERNAL
        for key, value in {"location": at, "offset": "0", "length": "384"}.items():
            made.external_data.add(key=key, value=value)
    elif content is not None:
        made.raw_data = content
    return made


def onnx_file(path: Path, made: TensorProto, name: str = "logits", pixels: str = "image") -> Path:
    image = helper.make_tensor_value_info(pixels, TensorProto.FLOAT, ["batch", 4, 4, 3])
    logits = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    nodes = [helper.make_node("Flatten", [pixels], ["flat"]), helper.make_node("MatMul", ["flat", "w"], [name])]
    graph = helper.make_graph(nodes, "g", [image], [logits], [made])
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )
    write_beside(path, FACTS)
    return path


def test_a_sound_onnx_file_is_opened(tmp_path):
    made = onnx_file(tmp_path / "x.onnx", weight(48, 2, content=bytes(384)))
    assert kdrecipes.load_student(made).predict([PIXELS]).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    "made",
    [
        weight(48, 2, at="../../../../../../../../etc/passwd"),
        weight(48, 2, at="/etc/passwd"),
        weight(48, 2, at="link"),
        weight(48, 2, at="gone"),
        weight(48, 2**40, content=b"1234"),
        weight(48, 2**40),
        weight(48, -2, content=bytes(384)),
        weight(48, 5, content=bytes(960)),
    ],
    ids=["other folder", "root", "link", "gone", "huge", "huge and empty", "negative", "other classes"],
)
def test_an_onnx_file_that_reads_others_or_is_not_what_it_says_is_one_message(tmp_path, made):
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert "x.onnx can't be opened" in (said := refused(onnx_file(tmp_path / "x.onnx", made))) or "classes" in said


@pytest.mark.parametrize("names", [{"name": "other"}, {"pixels": "other"}])
def test_a_program_of_other_names_is_one_message_of_predict(tmp_path, names):
    Image = pytest.importorskip("PIL.Image")
    Image.fromarray(PIXELS).save(tmp_path / "x.png")
    made = onnx_file(tmp_path / "x.onnx", weight(48, 2, content=bytes(384)), **names)
    with pytest.raises(RunError, match="can't answer"):
        kdrecipes.load_student(made).predict([PIXELS])
    done = CliRunner().invoke(app, ["predict", str(made), str(tmp_path / "x.png")])
    assert isinstance(done.exception, RunError) or (done.exit_code == 1 and "can't answer" in done.output)


# ---- A run


@pytest.mark.parametrize("student", ["/etc/passwd", "../../x.keras", "students/../../x.keras"])
def test_a_run_whose_student_lies_elsewhere_is_refused(finished, tmp_path, student):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    facts = read_json(run / "facts" / "arms.json")
    facts["kd-0"]["student"] = student
    (run / "facts" / "arms.json").write_text(json.dumps(facts))
    for use in (kdrecipes.load_student, rebuild_report, lambda run: push(run, tmp_path / "out")):
        with pytest.raises(UsageError, match="student leads out of the run's folder"):
            use(run)
    assert not (tmp_path / "out").exists()


def test_a_damaged_student_is_one_message_of_push(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    (run / "students" / "kd-0.keras").write_bytes(b"PK\x05\x06" + bytes(10))
    with pytest.raises(UsageError, match=r"kd-0\.keras can't be read"):
        push(run, tmp_path / "out")
