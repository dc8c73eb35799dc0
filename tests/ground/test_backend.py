"""Keras on torch or a clear refusal; no TensorFlow; devices."""

import os
import subprocess
import sys

import pytest

from kdrecipes.backend import check, check_policy, device_name, keras
from kdrecipes.errors import EnvironmentProblem, UsageError


def python(code, tmp_path, **environment):
    keep = {k: v for k, v in os.environ.items() if not k.startswith("KERAS")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=keep | {"KERAS_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_keras_on_another_backend_is_refused(tmp_path):
    # Keras' other backends need jax or tensorflow, which this project does without: Keras is made to say one.
    code, text = python(
        "import keras\nkeras.backend.backend = lambda: 'numpy'\nimport kdrecipes\nkdrecipes.Distiller",
        tmp_path,
        KERAS_BACKEND="torch",
    )
    assert code
    assert "Keras was already imported on numpy. Import kdrecipes before keras, or set KERAS_BACKEND=torch" in text


@pytest.mark.slow
def test_channels_first_is_refused(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "torch", "image_data_format": "channels_first"}')
    code, text = python("import kdrecipes\nkdrecipes.Distiller", tmp_path)
    assert code
    assert "kdrecipes takes images channels last, but Keras is set to channels_first. Remove" in text


@pytest.mark.parametrize("floatx", ["float16", "float64"])
def test_weights_of_another_type_are_refused(floatx):
    keras.config.set_floatx(floatx)
    try:
        with pytest.raises(EnvironmentProblem) as caught:
            check()
    finally:
        keras.config.set_floatx("float32")
    told = f'kdrecipes keeps weights in float32, but Keras is set to {floatx}. Remove "floatx" from'
    assert str(caught.value).startswith(told)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ['"floatx": "float13"', '"image_data_format": "first"', '"epsilon": "small"'])
def test_settings_that_keras_refuses_are_one_message(tmp_path, setting):
    (tmp_path / "keras.json").write_text(f'{{"backend": "torch", {setting}}}')
    command = (
        "import sys\nfrom kdrecipes.cli.main import main\nsys.argv[1:] = ['validate', 'digits', '--dry-run']\nmain()"
    )
    code, text = python(command, tmp_path)
    assert code == 3 and "Traceback" not in text
    assert f"Correct them in {tmp_path / 'keras.json'}, or remove that file." in text


def test_a_global_policy_is_refused_in_a_run_and_allowed_in_a_script():
    check_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        check()
        with pytest.raises(
            EnvironmentProblem, match=r"global policy is mixed_bfloat16. Call keras.config.set_dtype_policy"
        ):
            check_policy()
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.slow
def test_kdrecipes_first_needs_no_setting_and_tensorflow_stays_out(tmp_path):
    code, text = python(
        """
import sys, kdrecipes, numpy as np
from kdrecipes.backend import seed_everything
seed_everything(0)
make = lambda: kdrecipes.component("model", "cnn").build(classes=3, image_size=8, width=2, depth=1)
distiller = kdrecipes.Distiller(student=make(), teacher=make(), loss=kdrecipes.KD())
distiller.compile("adam", metrics=["accuracy"])
distiller.fit(np.zeros((4, 8, 8, 3)), np.zeros(4), verbose=0)
distiller.student.save("m.keras")
import keras
keras.models.clone_model(keras.models.load_model("m.keras"))
print(keras.backend.backend(), "tensorflow" in sys.modules)
""".replace("m.keras", str(tmp_path / "m.keras")),
        tmp_path,
        KERAS_BACKEND="jax",
    )
    assert code == 0, text
    assert text.strip().endswith("torch False")


def test_known_devices_have_names_and_others_are_refused():
    assert device_name("cpu") == "cpu"
    assert device_name("auto") in ("cpu", "cuda", "mps")
    with pytest.raises(UsageError, match=r"--device tpu: not available here \(.*\)\. Choose cpu, cuda, cuda:1 or mps"):
        device_name("tpu")
