"""A student in other formats: each file gives the student's logits, and nothing else is kept."""

import hashlib
import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft7Validator
from samples import read_back_here

import kdrecipes
from kdrecipes.components.exporters import onnx_file, torch_program, traced
from kdrecipes.components.exporters.found import exporter_named, exporter_of
from kdrecipes.components.exporters.writing import write
from kdrecipes.components.rebuilt import built_again, logits_of
from kdrecipes.disk.saved_facts import SavedFacts, write_beside
from kdrecipes.errors import EnvironmentProblem, RunError, UsageError
from kdrecipes.runs.export import export
from kdrecipes.torch_modules import module_of

SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "export.schema.json"
SUFFIXES = {
    "torch": ".pt2",
    "onnx": ".onnx",
    "openvino": ".xml",
    "keras": ".keras",
    "safetensors": ".safetensors",
    "litert": ".tflite",
}
SLOW = pytest.mark.slow  # each export is two processes that import torch


def needs(format):
    """Skip where the packages of a format are not installed; `make test` installs them."""
    try:
        exporter_named(format, {})
    except EnvironmentProblem as problem:
        pytest.skip(str(problem))


@pytest.fixture
def here():
    """Exports are read back in this process."""
    with read_back_here():
        yield


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    """A finished run, and a function that exports its student once a format: "torch" as users do, others read here.

    That each format's file is read in a fresh process too, the contract checks of the exporters show.
    """
    folder, _ = finished
    done = {}

    def exported(format, **options):
        needs(format)
        key = (format, *options.items())
        if key not in done:
            with nullcontext() if key == ("torch",) else read_back_here():
                found = export(folder, format, options=options)
            kept = tmp_path_factory.mktemp(format)  # another of these options has the same name
            for file in (folder / "export").glob(f"{Path(found.file).stem}.*"):
                shutil.copy(file, kept)
            done[key] = kept / found.file, found
        return done[key]

    return exported


@pytest.mark.slow
@pytest.mark.parametrize(
    "format", [*list(SUFFIXES)[:2], *(pytest.param(name, marks=SLOW) for name in list(SUFFIXES)[2:])]
)
def test_a_file_of_each_format_gives_the_students_logits(exported, format):
    file, found = exported(format)
    assert file.name == f"kd-0{SUFFIXES[format]}" and file.is_file()
    assert found.images == 360 and found.top1_agreement == 1.0
    assert found.largest_difference < 1e-4 * found.largest_logit
    assert found.test_accuracy == found.student_accuracy


@SLOW
def test_the_students_figures_are_the_runs(exported, finished):
    _, found = exported("keras")
    row = next(row for row in finished[1]["arms"] if row["arm"] == "kd")
    assert found.student == "students/kd-0.keras" and found.student_accuracy == pytest.approx(row["test_accuracy"])


@SLOW
@pytest.mark.parametrize("format", ["torch", "onnx", "openvino", "litert"])
def test_a_file_can_take_bytes(exported, finished, format):
    file, found = exported(format, input="uint8")
    assert found.options == {"input": "uint8"} and found.top1_agreement == 1.0
    assert file.stem == "kd-0-uint8", "the file for floats stays"
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    theirs = exporter_named(format, {}).load(file)(pixels)
    np.testing.assert_allclose(theirs, kdrecipes.load_student(finished[0]).logits(pixels), atol=1e-4)


def test_bytes_are_rounded_and_not_cut_off():
    assert traced.of_type(np.array([0.6, 254.4], np.float32), "uint8").tolist() == [1, 254]
    assert traced.of_type(np.array([0.6], np.float32), "float32").dtype == np.float32


@pytest.mark.slow
def test_what_is_measured_is_kept_beside_the_files(exported, finished, here):
    _, found = exported("torch")
    export(finished[0], "torch")  # again: one entry for a file
    kept = json.loads((finished[0] / "export" / "export.json").read_text())
    Draft7Validator(json.loads(SCHEMA.read_text())).validate(kept)
    (entry,) = [entry for entry in kept["exports"] if entry["file"] == found.file]
    assert entry["bytes"] == (finished[0] / "export" / found.file).stat().st_size
    assert not list((finished[0] / "export").glob(".*"))


def test_an_onnx_file_says_what_it_takes_and_what_its_classes_are(exported, finished):
    file, _ = exported("onnx")
    import onnx

    model = onnx.load(file)
    assert {p.key: p.value for p in model.metadata_props}["classes"] == json.dumps([str(i) for i in range(10)])
    assert [i.version for i in model.opset_import if i.domain == ""] == [onnx_file.OPSET]
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file))
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("image", "tensor(float)", ["batch", 8, 8, 3])
    assert (answer.name, answer.shape) == ("logits", ["batch", 10])


@SLOW
def test_a_file_of_8_bits_has_an_accuracy_of_its_own(exported):
    file, found = exported("onnx", quantize="int8")
    whole, _ = exported("onnx")
    assert file.name == "kd-0-int8.onnx" and found.largest_difference > 1e-3
    import onnx

    weights = {t.data_type for t in onnx.load(file).graph.initializer}
    assert onnx.TensorProto.INT8 in weights and file.stat().st_size < whole.stat().st_size


def test_a_file_whose_logits_are_others_is_not_kept(finished, monkeypatch):
    folder, _ = finished
    before = sorted((folder / "export").iterdir()) if (folder / "export").is_dir() else []
    monkeypatch.setattr("kdrecipes.runs.export.logits_of_file", lambda *a: np.zeros((360, 10), np.float32))
    with pytest.raises(RunError, match=r"torch: the file's logits are up to .* No file was kept"):
        export(folder, "torch", arm="baseline")
    assert sorted((folder / "export").iterdir()) == before


@SLOW
def test_each_student_has_a_file_of_its_own(finished, here):
    assert export(finished[0], "torch", arm="baseline", seed=0, images=256).file == "baseline-0.pt2"


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        ({"format": "onx"}, "No exporter is called 'onx'. Did you mean 'onnx'?"),
        ({"format": "torch", "seed": 7}, r"has no trained student kd-7. It has: baseline-0, kd-0"),
        ({"format": "torch", "options": {"quantize": "int8"}}, "These do: onnx. Its own: input"),
        ({"format": "torch", "options": {"input": "int4"}}, "is not one of"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(finished, ask, text):
    with pytest.raises(UsageError, match=text):
        export(finished[0], **ask)


@pytest.mark.slow
def test_without_a_number_no_more_images_than_a_gibibyte_are_compared(finished, here, monkeypatch):
    monkeypatch.setattr("kdrecipes.runs.export.MOST_PIXELS", 300 * 3 * 8 * 8)
    assert export(finished[0], "torch").images == 300


@SLOW
def test_the_sum_is_of_all_files(exported):
    file, found = exported("openvino")
    parts = [part.read_bytes() for part in (file.with_suffix(".bin"), file)]
    assert found.sha256 == hashlib.sha256(b"".join(parts)).hexdigest() and found.bytes == sum(map(len, parts))


@SLOW
def test_openvino_reports_nothing_to_its_makers(exported):
    exported("openvino")
    assert "openvino.tools.ovc.telemetry_stub" in sys.modules and sys.modules["openvino_telemetry"] is None


def test_an_exporter_that_fails_stops_nobody_who_reads_another_format(tmp_path):
    (tmp_path / "fails.py").write_text(
        "import kdrecipes\n@kdrecipes.hookimpl\ndef kdrecipes_components():\n"
        "    yield kdrecipes.Component(kind='exporter', name='fails', build=lambda: {}['no'])\n"
    )
    assert exporter_of(".pt2", (tmp_path / "fails.py",)).suffix == ".pt2"


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"is no run folder: it has no lock\.json"):
        export(tmp_path, "torch")


def test_a_missing_package_is_told_with_the_line_that_installs_it(finished, monkeypatch):
    monkeypatch.setattr(onnx_file.OnnxFile, "to_write", ("no_such_package",))
    with pytest.raises(
        EnvironmentProblem,
        match=r"The format 'onnx' needs no_such_package, which is .* `pip install 'kdrecipes\[onnx\]'`",
    ):
        export(finished[0], "onnx")


def test_a_network_that_cannot_be_traced_is_told_as_such():
    import keras

    class Chooses(keras.layers.Layer):
        def call(self, x):
            return x if x.sum() > 0 else -x

    pixels = keras.Input((4, 4, 3))
    model = keras.Model(pixels, keras.layers.Dense(2)(keras.layers.Flatten()(Chooses()(pixels))))
    with pytest.raises(RunError, match=r"torch\.export can't trace this network"):
        traced.traced(model, np.zeros((2, 4, 4, 3), np.float32))


@SLOW
@pytest.mark.parametrize(("format", "told"), [("onnx", "bessel_j1"), ("openvino", "bessel_j1"), ("litert", "")])
def test_a_layer_that_a_format_cannot_express_is_named(format, told, tmp_path):
    import keras
    import torch

    needs(format)

    class Odd(keras.layers.Layer):
        def call(self, x):
            return torch.special.bessel_j1(x)

    pixels = keras.Input((4, 4, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 3, name="first")(pixels))
    model = keras.Model(pixels, keras.layers.Dense(2)(keras.layers.Flatten()(Odd(name="strange")(x))))
    file, images = tmp_path / f"m{SUFFIXES[format]}", np.zeros((2, 4, 4, 3), np.float32)
    with pytest.raises(
        RunError, match=rf"can't express.*{told}.*Alone, the layer 'strange' \(class Odd\) can't be written either\.$"
    ):
        write(exporter_named(format, {}), format, model, file, images, ["a", "b"])
    assert not any("call" in layer.__dict__ for layer in model.layers) and not list(tmp_path.iterdir())


def test_a_module_inside_a_torch_student_is_named(tmp_path):
    import torch

    from kdrecipes.torch_modules import as_keras

    class Chooses(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.odd = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2)), Chooses()

        def forward(self, image):
            return self.odd(self.body(image))

    model, images = as_keras(Module(), 2, 4), np.zeros((2, 4, 4, 3), np.float32)
    with pytest.raises(RunError, match=r"Alone, the module 'odd' \(class Chooses\) can't be written either\.$"):
        write(exporter_named("torch", {}), "torch", model, tmp_path / "m.pt2", images, ["a", "b"])


def test_no_layer_is_blamed_for_an_exporter_that_writes_nothing(tmp_path):
    import keras

    class Broken:
        suffix = ".x"

        def export(self, model, path, example, names):
            raise OSError("no") from ValueError("the first cause")

    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()])
    with pytest.raises(RunError, match=r"^export as x: The exporter 'x' failed: ValueError: the first cause\.$"):
        write(Broken(), "x", model, tmp_path / "m.x", np.zeros((2, 4, 4, 3), np.float32), [])


@pytest.mark.slow
def test_an_exporter_of_a_plugin_says_its_files_name_and_its_pixels(finished, here, tmp_path, call):
    (tmp_path / "mine.py").write_text(
        "import kdrecipes\n"
        "from kdrecipes.components.exporters.torch_program import TorchProgram\n"
        "class Mine(TorchProgram):\n"
        "    suffix = '.mine'\n"
        "    def __init__(self, level=0):\n"
        "        super().__init__('uint8')\n"
        "        self.variant = f'level{level}'\n"
        "@kdrecipes.hookimpl\n"
        "def kdrecipes_components():\n"
        "    level = {'level': {'type': 'integer'}}\n"
        "    options = {'type': 'object', 'additionalProperties': False, 'properties': level}\n"
        "    yield kdrecipes.Component(kind='exporter', name='mine', build=Mine, options=options)\n"
    )
    plugin = ("--plugin", tmp_path / "mine.py", "--json")
    code, out, err = call("export", finished[0], "--format", "mine", "--set", "level=3", *plugin)
    assert code == 0, err
    found = json.loads(out)
    assert (
        found["file"] == "kd-0-uint8-level3.mine"
        and found["options"] == {"level": 3}
        and found["top1_agreement"] == 1.0
    )
    code, out, err = call("export", finished[0], "--format", "mine", "--set", "levl=3", *plugin)
    assert code == 2 and "Its own: level" in err
    assert call("export", finished[0], "--format", "mine", "--set", "level", *plugin)[0] == 2


@pytest.mark.slow
def test_a_torch_program_needs_neither_keras_nor_kdrecipes(exported, tmp_path):
    file, _ = exported("torch")
    code = (
        "import sys, torch; program = torch.export.load(sys.argv[1], extra_files=(names := {'classes.json': ''}));"
        "print(program.module()(torch.zeros(5, 8, 8, 3)).shape, names['classes.json'], 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.startswith("torch.Size([5, 10]) [") and done.stdout.endswith("False\n"), done.stderr


def test_a_torch_module_is_exported_too(tmp_path):
    import torch

    from kdrecipes.torch_modules import as_keras

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
            self.head = torch.nn.Linear(4 * 36, 3)

        def forward(self, image):
            return self.head(self.body(image.permute(0, 3, 1, 2) / 255))

    model = as_keras(Module(), 3, 8)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.float32)
    torch_program.TorchProgram().export(model, tmp_path / "m.pt2", images, ["a", "b", "c"])
    model.layers[-1].module.eval()
    np.testing.assert_allclose(
        torch_program.TorchProgram().load(tmp_path / "m.pt2")(images), logits_of(model)(images), atol=1e-5
    )
    with pytest.raises(RunError, match="use safetensors"):
        exporter_named("keras", {}).export(model, tmp_path / "m.keras", images, ["a", "b", "c"])


NETS = """
import kdrecipes, torch

class Net(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
        self.head = torch.nn.Linear(4, classes)

    def forward(self, image):
        return self.head(self.body(image.permute(0, 3, 1, 2) / 255).mean((2, 3)))

@kdrecipes.hookimpl
def kdrecipes_components():
    classes = {"classes": {"type": "integer"}}
    options = {"type": "object", "additionalProperties": False, "properties": classes}
    yield kdrecipes.Component("model", "torch_net", lambda classes: Net(classes), options)
    yield kdrecipes.Component("model", "bit_of_four_units", four_units, {**options, "properties": {
        **classes, "image_size": {"type": "integer"}}})

def four_units(classes, image_size):
    from kdrecipes.components.models.bit import bit
    from kdrecipes.components.models.bit_sizes import Size

    return bit(classes, image_size, Size((1, 1, 1, 1), 1))
"""
NETWORKS = {
    "cnn": {"width": 4, "depth": 1},
    "mobilenet_v3_small": {},
    "efficientnet_lite": {"weights": "none"},
    "bit_m_r50x1": {"weights": "none"},
    "bit_of_four_units": {},  # every layer of BiT's
    "torch_net": {},
}
PLUGIN = {"torch_net", "bit_of_four_units"}
DEEP = {  # seconds to trace: each is traced for one format, and each such format has one of them; the rest is soak
    "mobilenet_v3_small": {"torch", "openvino"},
    "efficientnet_lite": {"torch", "onnx"},
    "bit_of_four_units": {"torch", "openvino"},
    "bit_m_r50x1": set(SUFFIXES),
}


def marks_of(name, format):
    if format in DEEP.get(name, ()):
        return [SLOW, pytest.mark.soak]
    return [] if (name, format) == ("cnn", "torch") else [SLOW]


# Tests of their own say how.
REFUSED = {("torch_net", "keras"), ("bit_m_r50x1", "litert"), ("bit_of_four_units", "litert")}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A function that gives a network, built once, with what a file says of it, its plugins, images and logits."""
    plugin = tmp_path_factory.mktemp("plugin") / "net.py"
    plugin.write_text(NETS)
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3)).astype(np.float32)

    @cache
    def network(name):
        plugins = (plugin,) if name in PLUGIN else ()
        facts = SavedFacts(list("abcde"), 32, "squash", 32, name, NETWORKS[name], "0" * 64, [0, 0, 0], 10**6)
        model, numbers = built_again(facts, plugins), np.random.default_rng(0)
        for variable in model.variables:  # a head of zeros would make every file agree; other kernels stay as built,
            if "kernel" in variable.path and not variable.numpy().any():  # so that rounding does not grow in the depth
                variable.assign(0.02 * numbers.standard_normal(variable.shape))
        if (module := module_of(model)) is not None:
            module.eval()
        here = logits_of(model)(images)
        assert here.std() > 0  # tiny where nobody has trained it
        return model, facts, plugins, images, here

    return network


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "format"),
    [
        pytest.param(name, format, marks=marks_of(name, format))
        for name in NETWORKS
        for format in SUFFIXES
        if (name, format) not in REFUSED
    ],
)
def test_each_network_keeps_its_logits_in_each_format(name, format, network, tmp_path):
    needs(format)
    model, facts, plugins, images, here = network(name)
    file = tmp_path / f"m{SUFFIXES[format]}"
    write(exporter_named(format, {}), format, model, file, images, facts.classes)
    write_beside(file, facts)
    ask = kdrecipes.load_student(file, plugins=plugins).logits if plugins else exporter_named(format, {}).load(file)
    there = ask(images)
    assert np.abs(there - here).max() <= 1e-4 * np.abs(here).max()


@SLOW
def test_litert_says_that_it_has_no_group_normalisation(network, tmp_path):
    needs("litert")
    model, facts, _, images, _ = network("bit_of_four_units")
    with pytest.raises(RunError, match=r"LiteRT can't express .* \(class GroupNormalization\) can't be written either"):
        write(exporter_named("litert", {}), "litert", model, tmp_path / "m.tflite", images, facts.classes)
