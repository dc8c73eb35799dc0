"""What tests of runs share: a finished run, one that stopped at once, a student with dropout and nameless layers."""

import pytest
from charts import draw_charts
from samples import small

import kdrecipes
from kdrecipes.disk.json_files import read_json
from kdrecipes.runs import run as runs


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """One finished small run: its folder and report. It found no teacher: the home beside it was its own."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDRECIPES_HOME", str(folder.parent / "home"))
        draw_charts(True)  # whichever test is the first to ask for it
        return folder, kdrecipes.run(small(), folder)


DROPS = """
import kdrecipes

def build(classes, image_size):
    import keras
    from keras import layers

    pixels = keras.Input((image_size, image_size, 3))
    x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(pixels))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(x))
    x = layers.Dropout(0.5)(x)
    return keras.Model(pixels, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(kind="model", name="drops", build=build, options={
        "type": "object", "additionalProperties": False,
        "properties": {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}})
"""


@pytest.fixture
def drops(tmp_path):
    """Recipes whose student has dropout and layers without names."""
    (tmp_path / "drops.py").write_text(DROPS)
    return lambda *more: small('student={name="drops"}', *more, plugins=[tmp_path / "drops.py"])


@pytest.fixture
def interrupted(monkeypatch):
    """`interrupted(recipe, folder)`: a run that stopped just after it had begun; gives its lock."""

    def interrupted(recipe, folder):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(runs, "plan_fits", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
            kdrecipes.run(recipe, folder)
        return read_json(folder / "lock.json")

    return interrupted
