"""`kdrecipes push`: a folder that Hugging Face and Keras take as it is; what is not ours in it stays."""

import json
import re
import shutil
from types import SimpleNamespace

import huggingface_hub
import keras
import numpy as np
import pytest
from huggingface_hub import ModelCard

import kdrecipes
from kdrecipes.disk.json_files import read_json
from kdrecipes.disk.saved_facts import read_saved_facts, write_saved_facts
from kdrecipes.errors import UsageError
from kdrecipes.layers import Reordered
from kdrecipes.runs.push import push, upload_line

OF_ALL = {
    ".gitattributes",
    "README.md",
    "config.json",
    "kd-0.json",
    "kd-0.keras",
    "metadata.json",
    "model.weights.h5",
    "recipe.toml",
    "report.html",
    "report.json",
}


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run without exports."""
    return shutil.copytree(finished[0], tmp_path / "run", ignore=shutil.ignore_patterns("export"))


def files(folder):
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_the_folder_holds_the_student_its_card_report_and_recipe(run, tmp_path):
    found = push(run, tmp_path / "hub" / "digits")
    assert files(tmp_path / "hub" / "digits") == OF_ALL == {*found.files} and found.left == []
    assert [path.name for path in (tmp_path / "hub").iterdir()] == ["digits"]
    for name in ("report.json", "report.html", "recipe.toml"):
        assert (found.folder / name).read_bytes() == (run / name).read_bytes()
    card = ModelCard((found.folder / "README.md").read_text(encoding="utf-8"))
    assert card.data.library_name == "keras" and 'load_student("kd-0.keras")' in card.text


def test_keras_opens_the_folder_from_the_hub_and_kdrecipes_its_file(run, tmp_path, monkeypatch):
    folder = push(run, tmp_path / "hub").folder
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.float32)
    here = kdrecipes.load_student(run).logits(pixels)
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda repo_id, **more: asked.append(repo_id) or str(folder)
    )
    code = re.findall(r"^```python\n(.*?)^```$", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.M)
    exec(code[1], made := {})  # as the card says it; from "hf://…" Keras opens the same folder
    there = keras.ops.convert_to_numpy(made["network"](keras.ops.convert_to_tensor(pixels), training=False))
    assert asked == ["USER/NAME"]
    np.testing.assert_allclose(there, here, atol=1e-6)
    np.testing.assert_array_equal(kdrecipes.load_student(folder / "kd-0.keras").logits(pixels), here)


def test_layers_that_are_not_keras_own_are_imported_first(run, tmp_path):
    file = run / "students" / "kd-0.keras"
    facts = read_saved_facts(file)
    layers = [keras.layers.Flatten(), keras.layers.Dense(10), Reordered(range(10))]
    keras.Sequential([keras.Input((8, 8, 3)), *layers]).save(file)
    write_saved_facts(file, facts)
    card = (push(run, tmp_path / "hub").folder / "README.md").read_text(encoding="utf-8")
    assert "import keras\nimport kdrecipes.layers  # layers of the network\n" in card


def test_a_torch_modules_student_is_a_file_of_weights(run, tmp_path):
    from safetensors.numpy import save_file

    arms = run / "facts" / "arms.json"
    arms.write_text(json.dumps(read_json(arms)).replace("kd-0.keras", "kd-0.safetensors"))
    save_file({"w": np.zeros(3, np.float32)}, str(run / "students" / "kd-0.safetensors"))
    folder = push(run, tmp_path / "hub").folder
    assert files(folder) & {"kd-0.safetensors", "kd-0.json", "kd-0.keras", "config.json"} == {
        "kd-0.safetensors",
        "kd-0.json",
    }
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert 'load_student("kd-0.safetensors")' in card and "snapshot_download" not in card


def test_the_exports_of_this_student_go_along_and_no_other(run, tmp_path):
    (run / "export").mkdir()
    entry = {"format": "onnx", "options": {"input": "uint8"}, "bytes": 5, "images": 360, "top1_agreement": 1.0}
    entry |= {"test_accuracy": 0.5}
    every = [
        {**entry, "file": "kd-0.onnx", "student": "students/kd-0.keras"},
        {**entry, "file": "baseline-0.onnx", "student": "students/baseline-0.keras"},
    ]
    (run / "export" / "export.json").write_text(json.dumps({"schema_version": 1, "exports": every}))
    for name in ("kd-0.onnx", "kd-0.json", "baseline-0.onnx", "baseline-0.json", "kd-01.onnx"):
        (run / "export" / name).write_text(name)
    folder = push(run, tmp_path / "hub").folder
    assert files(folder / "export") == {"export.json", "kd-0.json", "kd-0.onnx"}
    assert json.loads((folder / "export" / "export.json").read_text())["exports"] == every[:1]
    row = "| export/kd-0.onnx | onnx, input = uint8 | 5 B | 50.00 % of 360 | 100.00 % |"
    assert row in (folder / "README.md").read_text(encoding="utf-8")


def test_another_student_has_a_card_of_its_own(run, tmp_path):
    found = push(run, tmp_path / "hub", arm="baseline", seed=0, page=False)
    assert {*found.files} == {name.replace("kd-0", "baseline-0") for name in OF_ALL} - {"report.html"}
    assert "trained on labels only" in (found.folder / "README.md").read_text(encoding="utf-8")


def test_what_is_there_is_left_alone(run, tmp_path):
    (tmp_path / "hub" / ".git").mkdir(parents=True)
    (tmp_path / "hub" / "mine.txt").write_text("mine")
    (tmp_path / "hub" / "README.md").write_text("old")
    with pytest.raises(UsageError, match=r"hub is not empty\. .* --overwrite"):
        push(run, tmp_path / "hub")
    assert files(tmp_path / "hub") == {"mine.txt", "README.md"}
    found = push(run, tmp_path / "hub", overwrite=True)
    assert found.left == [".git", "mine.txt"] and (tmp_path / "hub" / "mine.txt").read_text() == "mine"
    assert (tmp_path / "hub" / "README.md").read_text(encoding="utf-8").startswith("---\n")
    assert (tmp_path / "hub" / ".git").is_dir() and files(tmp_path / "hub") == OF_ALL | {"mine.txt"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub", "run"]


def test_an_empty_folder_will_do(run, tmp_path):
    (tmp_path / "hub").mkdir()
    push(run, tmp_path / "hub")
    assert files(tmp_path / "hub") == OF_ALL


def test_nothing_is_left_of_a_folder_that_could_not_be_finished(run, tmp_path, monkeypatch):
    monkeypatch.setattr("kdrecipes.runs.push.model_card", lambda *a: {}["no"])
    with pytest.raises(KeyError):
        push(run, tmp_path / "hub")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("spoil", "ask", "text"),
    [
        (lambda run, to: (run / "report.json").unlink(), {}, "has no report yet"),
        (lambda run, to: (run / "report.json").write_text("{"), {}, "`kdrecipes report .*` writes it again"),
        (lambda run, to: (run / "students" / "kd-0.keras").unlink(), {}, "there is no student to lay out"),
        (lambda run, to: (run / "lock.json").unlink(), {}, "is no run folder"),
        (lambda run, to: to.write_text("x"), {"overwrite": True}, "hub is a file"),
        (lambda run, to: shutil.copytree(run, to), {"overwrite": True}, "hub is a run folder"),
        (lambda run, to: None, {"seed": 7}, r"has no trained student kd-7\. It has: baseline-0, kd-0"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(run, tmp_path, spoil, ask, text):
    spoil(run, tmp_path / "hub")
    with pytest.raises(UsageError, match=text):
        push(run, tmp_path / "hub", **ask)


@pytest.mark.parametrize("name", ["digits", "my run: (1)", "…"])
def test_the_line_that_publishes_it_is_python_and_names_a_repository_that_the_hub_allows(name, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(huggingface_hub, "create_repo", lambda repo_id, **more: asked.append((repo_id, more)))
    monkeypatch.setattr(huggingface_hub, "upload_folder", lambda **given: asked.append(given))
    exec(upload_line(name, tmp_path / "it's"), {})
    (made, more), sent = asked
    huggingface_hub.utils.validate_repo_id(made)
    assert more == {"exist_ok": True} and sent == {"repo_id": made, "folder_path": str(tmp_path / "it's")}


def test_the_command_prints_the_folder_and_the_line(run, tmp_path, call):
    to = tmp_path / "hub"
    code, out, err = call("push", run, "--to", to)
    assert (code, out) == (0, f"{to}\n{upload_line('digits', to)}\n")
    assert "--no-page leaves it out" in err and "read it first" in err
    code, out, err = call("push", run, "--to", to)
    assert (code, out) == (2, "") and "is not empty" in err
    (to / "mine").touch()
    code, out, err = call("push", run, "--to", to, "--overwrite", "--no-page", "--json")
    told = SimpleNamespace(**json.loads(out))
    assert (code, told.folder, told.student) == (0, str(to), "students/kd-0.keras")
    assert set(told.files) == OF_ALL - {"report.html"} and told.left == ["mine", "report.html"]
    assert "left as it was" in err and "test images" not in err
