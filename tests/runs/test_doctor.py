"""`kdrecipes doctor`: each fault of an installation or a machine is a finding with its mend, and the exit code is 3."""

import json
from importlib import metadata
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from kdrecipes.backend import keras
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.runs import doctor, doctor_folders, doctor_machine, doctor_packages
from kdrecipes.runs.doctor_check import Check, finding, ok

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "schemas/doctor.schema.json").read_text())
ENOUGH = "MemTotal: 32000000 kB\nMemAvailable: 30000000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"


@pytest.fixture
def sound(monkeypatch, tmp_path, home, built_ins):
    """A machine with nothing wrong, whatever the one is that tests run on."""
    (tmp_path / "meminfo").write_text(ENOUGH)
    monkeypatch.setattr(doctor_folders, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(doctor_machine, "_cores", lambda: doctor_machine.torch.get_num_threads())
    monkeypatch.setattr(doctor_machine, "_DRIVER", tmp_path / "none")
    monkeypatch.setattr(doctor_machine, "operations_a_second", lambda: 1e15)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(doctor_folders.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10**11}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def findings(checks):
    return [(check.found, check.mend) for check in checks if check.state == "finding"]


def test_on_a_sound_machine_nothing_is_wrong(sound, call):
    code, out, _ = call("doctor", "--json")
    told = json.loads(out)
    assert (code, told["ok"]) == (0, True), out
    Draft7Validator(SCHEMA).validate(told)
    names = SCHEMA["properties"]["checks"]["items"]["properties"]["name"]["enum"]
    assert [check["name"] for check in told["checks"]] == names
    assert [check["state"] for check in told["checks"]] == ["ok"] * len(names)
    assert "two steps of every fit of digits done" in out


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["text", "json"])
def test_a_finding_is_told_with_its_mend_and_leaves_with_3(call, monkeypatch, words):
    checks = [ok("python", "3.12"), finding("memory", "little \x1b[31m", "End programs.")]
    monkeypatch.setattr(doctor, "examine", lambda: iter([*checks, Check("fit", "skipped", "not looked at")]))
    code, out, err = call("doctor", *words)
    assert (code, err) == (3, "") and "\x1b" not in out
    if words:
        told = json.loads(out)
        Draft7Validator(SCHEMA).validate(told)
        assert told["ok"] is False and told["checks"][1]["mend"] == "End programs."
    else:
        lines = out.splitlines()
        assert lines[0].split() == ["ok", "python", "3.12"] and lines[1].startswith("finding   memory ")
        assert lines[2].strip() == "→ End programs." and lines[-1] == "1 finding."


def test_what_runs_need_and_is_not_there_stops_the_checks_that_need_it(sound, monkeypatch):
    real = doctor_packages.importlib.util.find_spec
    hidden = ("torch", "scipy")
    monkeypatch.setattr(doctor_packages.importlib.util, "find_spec", lambda n: None if n in hidden else real(n))
    checks = list(doctor.examine())
    assert findings(checks) == [
        ("what runs need is not installed: scipy, torch", "Install it: `pip install 'kdrecipes[run]'`.")
    ]
    assert [check.name for check in checks if check.state == "skipped"] == list(doctor.HEAVY)


def test_versions_outside_of_the_tested_ranges_are_told(monkeypatch):
    real = metadata.version
    versions = {"keras": "3.2.0", "onnx": "1.0"}
    monkeypatch.setattr(metadata, "version", lambda name: versions.get(name) or real(name))
    found = findings(doctor_packages.packages())
    assert found[0][0].startswith("keras 3.2.0 is outside of what was tested: ")
    assert found[0][1].startswith("Install another: `pip install 'keras") and ">=3.15.1" in found[0][1]
    assert [text.split()[0] for text, _ in found] == ["keras", "onnx"]


def test_a_broken_installation_is_told_with_what_mends_it(monkeypatch):
    real = metadata.version

    def version(name):
        if name == "keras":
            raise FileNotFoundError("No package metadata was found.")  # as importlib_metadata does
        return None if name == "rich" else real(name)  # as the standard library does

    monkeypatch.setattr(metadata, "version", version)
    found = dict(findings(doctor_packages.packages()))
    assert list(found) == ["rich is broken: it states no version", "keras is broken: it states no version"]
    assert found["rich is broken: it states no version"].startswith(
        "Install it again: `pip install --force-reinstall 'r"
    )


def test_an_extra_that_is_not_installed_is_no_finding(monkeypatch):
    real = metadata.version

    def version(name):
        if name in ("wandb", "keras-hub", "litert-torch", "pillow"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    ((text, _),) = findings(doctor_packages.packages())
    assert text == "what runs need is not installed: pillow"


def test_a_python_that_is_not_named_is_told(monkeypatch):
    monkeypatch.setattr(doctor_packages.platform, "python_version", lambda: "3.19.1")
    monkeypatch.setattr(doctor_packages.platform, "python_version_tuple", lambda: ("3", "19", "1"))
    assert findings([doctor_packages.python()]) == [("3.19.1; tested are 3.11, 3.12, 3.13", "Use Python 3.13.")]


def test_broken_plugins_are_told(install):
    install("kdrecipes-broken", "raise RuntimeError('no luck')")
    found = dict(findings(doctor_packages.plugins()))
    (text,) = [text for text in found if "kdrecipes-broken" in text]
    assert "could not be loaded: RuntimeError: no luck" in text
    assert "`pip uninstall kdrecipes-broken`" in found[text]


def test_folders_that_can_not_be_used_are_told(sound, monkeypatch):
    (sound / "home").write_text("a file")
    (sound / "runs").write_text("a file")
    monkeypatch.setattr(doctor_folders.tempfile, "gettempdir", lambda: (_ for _ in ()).throw(FileNotFoundError("none")))
    home, runs, temporary = findings(doctor_folders.folders())
    assert home == (f"{sound / 'home'} can't be used: {sound / 'home'} is no folder", doctor_folders._HOME)
    assert runs[0] == f"{sound / 'runs'} can't be used: {sound / 'runs'} is no folder" and "--out" in runs[1]
    assert "TMPDIR" in temporary[1]


def test_a_folder_that_refuses_a_file_and_a_full_disk_are_told(sound, monkeypatch):
    with monkeypatch.context() as patch:
        refused = PermissionError(13, "Permission denied")
        patch.setattr(doctor_folders.tempfile, "TemporaryFile", lambda dir: (_ for _ in ()).throw(refused))
        assert all("can't be written: Permission denied" in text for text, _ in findings(doctor_folders.folders()))
    before = sorted(sound.iterdir())
    monkeypatch.setattr(doctor_folders.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 5_000_000}))
    found = findings(doctor_folders.folders())
    assert len(found) == 3 and all("5 MB free" in text and "Make room" in mend for text, mend in found)
    assert sorted(sound.iterdir()) == before


def test_caches_that_can_not_be_read_are_told(sound, monkeypatch):
    (sound / "home/stores").mkdir(parents=True)
    (sound / "home/weights").write_text("a file")
    (sound / "tfds").mkdir()
    monkeypatch.setattr(doctor_folders.os, "access", lambda folder, mode: folder.name != "tfds")
    weights, tfds = findings(doctor_folders.caches())
    assert weights[0] == f"weights: {sound / 'home/weights'} is no folder"
    assert tfds[0] == f"TFDS: {sound / 'tfds'} can't be read and written" and "chmod u+rwx" in tfds[1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("MemAvailable: 30000000", "MemAvailable: 500000"), "512 MB of 32.8 GB are free"),
        (("SwapTotal: 0 kB\nSwapFree: 0", "SwapTotal: 9000 kB\nSwapFree: 0"), None),  # swapped out, and room again
        (("30000000 kB\nSwapTotal: 0", "3000000 kB\nSwapTotal: 90000"), "92 MB are swapped out, which makes runs slow"),
    ],
    ids=["little memory", "swapped once", "swaps"],
)
def test_too_little_memory_is_told(sound, change, text):
    (sound / "meminfo").write_text(ENOUGH.replace(*change))
    found = findings([doctor_folders.memory()])
    assert [text in told for told, _ in found] == ([True] if text else [])


def test_a_system_that_tells_no_memory_is_skipped(sound, monkeypatch):
    monkeypatch.setattr(doctor_folders, "_MEMORY", sound / "nowhere")
    assert doctor_folders.memory().state == "skipped"


@pytest.mark.parametrize(
    ("used", "cores", "limit", "mend"),
    [
        (1, 8, "1", "Unset OMP_NUM_THREADS, or set OMP_NUM_THREADS to 8."),
        (1, 8, None, "Set OMP_NUM_THREADS to 8."),
        (16, 2, None, "Set OMP_NUM_THREADS to 2."),
        (4, 8, "4", None),
        (1, 1, None, None),
    ],
)
def test_threads_that_do_not_fit_the_cores_are_told(monkeypatch, used, cores, limit, mend):
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", limit) if limit else monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(doctor_machine.torch, "get_num_threads", lambda: used)
    monkeypatch.setattr(doctor_machine, "_cores", lambda: cores)
    assert [told for _, told in findings([doctor_machine.threads()])] == ([mend] if mend else [])


def test_speed_is_told_against_the_reference(monkeypatch):
    assert doctor_machine.operations_a_second() > 0
    monkeypatch.setattr(doctor_machine.torch, "get_num_threads", lambda: 2)
    for rate, slow in ((19e9, True), (21e9, False)):  # 9.5 and 10.5 a thread; a quarter of 40 is 10
        monkeypatch.setattr(doctor_machine, "operations_a_second", lambda rate=rate: rate)
        check = doctor_machine.speed()
        assert (check.state == "finding") == slow and "40 are usual" in check.found


def test_a_gpu_that_torch_can_not_use_is_told(sound, monkeypatch):
    (sound / "driver").write_text("NVRM version")
    monkeypatch.setattr(doctor_machine, "_DRIVER", sound / "driver")
    monkeypatch.setattr(doctor_machine.backend, "device_name", lambda wanted: "cpu")
    assert "hidden by CUDA_VISIBLE_DEVICES" in doctor_machine.device().found  # as in these tests
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    ((text, mend),) = findings([doctor_machine.device()])
    assert "an NVIDIA driver is here" in text and "pytorch.org" in mend


def test_a_policy_that_no_run_computes_in_is_told():
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        ((text, _),) = findings([doctor_machine.versions()])
        assert "mixed_bfloat16" in text
    finally:
        keras.config.set_dtype_policy(before)


def test_a_fit_that_fails_is_a_finding_and_no_traceback(monkeypatch):
    monkeypatch.setattr(doctor_machine, "dry_run", lambda *a, **k: (_ for _ in ()).throw(RunError("no kernel")))
    ((text, mend),) = findings([doctor_machine.fit()])
    assert text == "two steps of digits: RunError: no kernel" and "pip install" in mend


@pytest.mark.parametrize("error", [EnvironmentProblem("Keras refuses its own settings."), OSError("libtorch.so")])
def test_a_backend_that_can_not_be_imported_is_a_finding(monkeypatch, error):
    import sys

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "kdrecipes.runs.doctor_machine":
                raise error

    import kdrecipes.runs

    monkeypatch.delitem(sys.modules, "kdrecipes.runs.doctor_machine")
    monkeypatch.delattr(kdrecipes.runs, "doctor_machine")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    checks = list(doctor._heavy())
    ((text, mend),) = findings(checks)
    assert str(error) in text and mend
    assert [check.name for check in checks] == list(doctor.HEAVY)
