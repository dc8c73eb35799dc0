"""`kdrecipes.testing`: the built-ins keep their contracts, and each rule finds a component that breaks it."""

from __future__ import annotations

import subprocess
import sys

import faulty_components as faulty
import pytest

import kdrecipes
from kdrecipes import losses
from kdrecipes.components.losses import TERMS
from kdrecipes.components.registry import load_registry
from kdrecipes.testing import check_callback, check_dataset, check_exporter, check_loss, check_model

CHECKS = {
    "model": check_model,
    "dataset": check_dataset,
    "loss": check_loss,
    "callback": check_callback,
    "exporter": check_exporter,
}
LAYERS = {"student_layers": ["a"], "teacher_layers": ["b"]}
# Everything built in, with the options that its check needs; what is slow there is big networks. The larger ones of a
# family come from the same builder with other numbers.
LARGER = [pytest.mark.slow, pytest.mark.soak]
MODELS = [
    ("cnn", {"width": 2}),
    ("mobilenet_v3_small", {"image_size": [32]}),
    pytest.param("mobilenet_v3_large", {"image_size": [32]}, marks=LARGER),
    pytest.param("efficientnet_b0", {"classes": [3]}, marks=pytest.mark.slow),
    pytest.param("keras_applications", {"model": "MobileNetV2", "alpha": 0.35, "classes": [3]}, marks=pytest.mark.slow),
    pytest.param("efficientnet_b3", {"image_size": [32]}, marks=LARGER),
    pytest.param("bit_m_r50x1", {"weights": "none", "classes": [3]}, marks=pytest.mark.slow),
    pytest.param("bit_m_r101x1", {"weights": "none", "image_size": [32], "classes": [3]}, marks=LARGER),
    pytest.param("efficientnet_lite", {"weights": "none", "image_size": [32]}, marks=pytest.mark.slow),
]
OF_LAYERS = {  # of others: one pair
    "fsp": {"student_layers": ["a", "b"], "teacher_layers": ["c", "d"]},
    "review_kd": {"student_layers": ["a", "b"], "teacher_layers": ["c", "d"]},
    "ofa": {"student_layers": ["a"]},
}
LOSSES = [
    *(
        (name, OF_LAYERS.get(name, LAYERS) if hasattr(getattr(losses, term), "student_layers") else {})
        for name, term in TERMS.items()
    ),
    ("hint", {**LAYERS, "projector": "linear"}),
    ("hint", {**LAYERS, "projector": "conv"}),
    ("srrl", {}),
    ("crd", {}),
    ("simkd", {}),
]
FROM_FILES = {"keras_file", "fashion_mnist", "folder", "file_list", "arrays", "digits"}  # below
CALLBACKS = {
    "csv_log": {},
    "tensorboard": {},
    "wandb": {"mode": "offline"},
    "mlflow": {"tracking_uri": "sqlite:///mlflow.db"},
}
EXPORTERS = ["torch", "keras", "safetensors", "onnx", "openvino"]
APART = {"litert"}  # in an environment of its own: below
ELSEWHERE = {"keras_hub", "tfds"}  # in test_hub.py and test_tfds.py, where their files are


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), MODELS)
def test_built_in_models_keep_the_contract(name, options):
    check_model(kdrecipes.component("model", name), **options)


@pytest.mark.parametrize(("name", "options"), LOSSES)
def test_built_in_losses_keep_the_contract(name, options):
    check_loss(kdrecipes.component("loss", name), **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLBACKS)
def test_built_in_callbacks_keep_the_contract(name, tmp_path, monkeypatch):
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    check_callback(kdrecipes.component("callback", name), **CALLBACKS[name])


@pytest.mark.slow
@pytest.mark.parametrize("pixels", ["float32", "uint8"])
def test_the_exporter_litert_keeps_the_contract(pixels):
    pytest.importorskip("litert_torch", reason="`make test-litert` has an environment with LiteRT's converter")
    check_exporter(kdrecipes.component("exporter", "litert"), input=pixels)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [EXPORTERS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in EXPORTERS[1:])]
)
def test_built_in_exporters_keep_the_contract(name):
    check_exporter(kdrecipes.component("exporter", name))


def test_an_exporter_that_keeps_its_promises_passes():
    """And one of fewer bits may answer otherwise."""
    check_exporter(faulty.exporter())
    check_exporter(faulty.exporter(load=faulty.answer(), exact=False))


def test_digits_keeps_the_contract():
    check_dataset(kdrecipes.component("dataset", "digits"))


def test_a_model_from_a_keras_file_keeps_the_contract(tmp_path):
    model = kdrecipes.component("model", "cnn").build(classes=3, image_size=8, width=2)
    model.save(tmp_path / "saved.keras")
    check = kdrecipes.component("model", "keras_file")
    check_model(check, path=str(tmp_path / "saved.keras"), image_size=[8], classes=[3])


def test_a_folder_of_images_keeps_the_contract(tmp_path):
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(3):
                Image.fromarray(draw.integers(0, 256, (6, 8, 3)).astype(np.uint8)).save(
                    tmp_path / split / name / f"{i}.png"
                )
    check_dataset(kdrecipes.component("dataset", "folder"), path=str(tmp_path))


def test_a_list_of_images_keeps_the_contract(tmp_path):
    import numpy as np
    from PIL import Image

    draw, rows = np.random.default_rng(0), ["path,label,split,weight"]
    for i in range(12):
        Image.fromarray(draw.integers(0, 256, (6, 8, 3)).astype(np.uint8)).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{'' if i > 9 else 'cat' if i % 2 else 'dog'},{'test' if i < 4 else 'train'},{i / 4}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    check = kdrecipes.component("dataset", "file_list")
    check_dataset(check, split=["train", "test", "unlabelled"], path=str(tmp_path / "list.csv"))


def test_arrays_keep_the_contract(tmp_path):
    import numpy as np

    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}_x.npy", draw.random((9, 6, 8)))
        np.save(tmp_path / f"{split}_y.npy", np.arange(9) % 4 - 1 if split == "train" else np.arange(9) % 3)
    check = kdrecipes.component("dataset", "arrays")
    check_dataset(check, split=["train", "test", "unlabelled"], path=str(tmp_path), range=[0.0, 1.0])


def test_fashion_mnist_keeps_the_contract(tmp_path):
    from samples import write_idx

    check_dataset(kdrecipes.component("dataset", "fashion_mnist"), path=str(write_idx(tmp_path)))


@pytest.mark.usefixtures("built_ins")
def test_every_built_in_is_checked():
    """A component that is added is checked here too."""
    named = (
        {getattr(entry, "values", entry)[0] for entry in (*MODELS, *LOSSES)}
        | {*EXPORTERS, *CALLBACKS}
        | FROM_FILES
        | ELSEWHERE
        | APART
    )
    assert {name for _, name in load_registry().components} <= named


@pytest.mark.parametrize("words", faulty.CONTRACT)
def test_what_breaks_the_contract_of_all_kinds_is_one_message(words):
    with pytest.raises(AssertionError) as caught:
        check_model(faulty.CONTRACT[words])
    message = str(caught.value)
    assert message.startswith(f"{faulty.CONTRACT[words].kind} 'faulty': ") and words in message and "\n" not in message


FAULTY = [
    (kind, words)
    for kind, table in (
        ("model", faulty.MODELS),
        ("dataset", faulty.DATASETS),
        ("loss", faulty.LOSSES),
        ("callback", faulty.CALLBACKS),
        ("exporter", faulty.EXPORTERS),
    )
    for words in table
]


@pytest.mark.parametrize(("kind", "words"), FAULTY)
def test_each_rule_finds_what_breaks_it(kind, words):
    component = getattr(faulty, {"loss": "LOSSES"}.get(kind, f"{kind.upper()}S"))[words]
    sizes = {"image_size": [16, 24], "classes": [3, 4]} if kind == "model" else {}
    with pytest.raises(AssertionError) as caught:
        CHECKS[kind](component, **sizes)
    message = str(caught.value)
    assert message.startswith(f"{kind} 'faulty': ") and words in message and "\n" not in message


@pytest.mark.parametrize("name", faulty.SOUND_LOSSES)
def test_what_a_term_says_of_itself_is_believed(name):
    check_loss(faulty.SOUND_LOSSES[name])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widht": 3}, "model 'cnn': option 'widht' unknown key. Received: \"widht\"; did you mean \"width\"?"),
        ({"width": 0}, "model 'cnn': option 'width' must be at least 1. Received: 0"),
    ],
)
def test_options_that_do_not_fit_are_told_as_in_a_recipe(options, words):
    with pytest.raises(AssertionError) as caught:
        check_model(kdrecipes.component("model", "cnn"), **options)
    assert str(caught.value) == words


def test_an_option_that_is_missing_is_named():
    with pytest.raises(AssertionError, match=r"^dataset 'folder': option 'path' missing key\. Received: nothing$"):
        check_dataset(kdrecipes.component("dataset", "folder"))


HEAVY = """
import kdrecipes

def build():
    raise AssertionError

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component("model", "heavy_one", build, summary="a test's")
"""


@pytest.mark.slow
@pytest.mark.parametrize("heavy", ["torch", "keras"])
def test_a_plugin_that_imports_heavy_packages_is_refused(install, heavy):
    install("kdrecipes-heavy", f"import {heavy}\n{HEAVY}")
    words = "loading kdrecipes_heavy must import neither torch nor keras nor tensorflow nor jax"
    with pytest.raises(AssertionError, match=f"^model 'heavy_one': {words}. Received: (torch )?{heavy}"):
        check_model(kdrecipes.component("model", "heavy_one"))


def test_a_plugin_that_prints_is_not_taken_for_a_heavy_one(install):
    install("kdrecipes-heavy", f"print('torch @ home')\n{HEAVY}")
    with pytest.raises(AssertionError, match=r"build\(.*\) failed"):
        check_model(kdrecipes.component("model", "heavy_one"), classes=3)


def test_one_value_may_stand_for_several():
    check_dataset(kdrecipes.component("dataset", "digits"), split="train")
    check_model(kdrecipes.component("model", "cnn"), image_size=8, classes=3, width=2, depth=1)
    with pytest.raises(AssertionError, match=r"^split: give one at least\. Received: \[\]$"):
        check_dataset(kdrecipes.component("dataset", "digits"), split=[])


def test_a_plugin_that_needs_something_else_imported_is_refused(install):
    install("kdrecipes-heavy", f"import sys\nif 'pytest' not in sys.modules: raise ValueError('no pytest')\n{HEAVY}")
    with pytest.raises(AssertionError) as caught:
        check_model(kdrecipes.component("model", "heavy_one"))
    assert str(caught.value) == (
        "model 'heavy_one': loading kdrecipes_heavy in a fresh Python failed. Received: ValueError: no pytest"
    )


def test_a_name_is_no_component():
    with pytest.raises(AssertionError, match=r"^component: must be a Component, as .* gives it\. Received: 'cnn'$"):
        check_model("cnn")  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_single_file_plugin_is_loaded_by_its_file(tmp_path):
    (tmp_path / "mine.py").write_text("import torch\n" + HEAVY)
    component = load_registry((tmp_path / "mine.py",)).get("model", "heavy_one")
    with pytest.raises(AssertionError, match=r"loading kdrecipes_plugin_\w+ must import neither .*\. Received: torch"):
        check_model(component)


def test_importing_the_checks_imports_nothing_heavy():
    """And `import kdrecipes` does not import them."""
    code = (
        "import sys, kdrecipes; assert 'kdrecipes.testing' not in sys.modules\n"
        "import kdrecipes.testing; assert not {'torch', 'keras', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
