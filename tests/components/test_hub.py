"""KerasHub's classifiers: each tested name's architecture from a preset folder, and one message for what is wrong."""

import json

import numpy as np
import pytest
import torch
from samples import OFFSET, SCALE, TESTED, classifier_of

import kdrecipes
from kdrecipes.backend import seed_everything
from kdrecipes.components.models import hub
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.training.optimizer import head_of

# Of each family the smallest; the others differ in numbers of their table.
SMALLEST = {"mobilenet_v3_small_100_imagenet", "efficientnet_b0_ra_imagenet"}
NAMES = [pytest.param(name, marks=[] if name in SMALLEST else [pytest.mark.slow, pytest.mark.soak]) for name in TESTED]


@pytest.fixture(scope="module", params=NAMES)
def preset(request, tmp_path_factory):
    """(the published name, the classifier, the folder it was saved to)"""
    folder = tmp_path_factory.mktemp("presets") / request.param
    classifier = classifier_of(request.param)
    classifier.save_to_preset(str(folder))
    return request.param, classifier, folder


def pixels(size):
    return torch.randint(0, 256, (2, size, size, 3), generator=torch.Generator().manual_seed(0)).float()


def test_the_tested_names_are_presets_of_these_sizes(preset):
    import keras_hub

    name, classifier, _ = preset
    published = keras_hub.models.Backbone.presets[name]["metadata"]["params"]
    backbone = classifier.backbone
    if name.startswith("efficientnet"):  # published with a head of 1,000 classes, without the moving statistics
        count = sum(int(np.prod(v.shape)) for v in backbone.trainable_variables)
        assert count + 1000 * (backbone.output_shape[-1] + 1) == published
    else:
        assert backbone.count_params() == published


@pytest.mark.slow
def test_logits_are_the_presets_on_its_own_preprocessing(preset):
    _, classifier, folder = preset
    model = hub.build(20, 64, str(folder))
    images = pixels(64)
    with torch.no_grad():
        expected = classifier(images * torch.tensor(SCALE) + torch.tensor(OFFSET), training=False)
        torch.testing.assert_close(model(images, training=False), expected, rtol=1e-4, atol=1e-5)
    assert model.output_shape == (None, 20)
    assert {v.path.rpartition("/")[0].rpartition("/")[2] for v in head_of(model)} == {"predictions"}


@pytest.mark.slow
def test_a_head_of_another_width_is_new_and_all_else_stays(preset):
    """MobileNetV3's expansion behind the pooling stays too."""
    _, classifier, folder = preset
    model = hub.build(7, 64, str(folder))
    mine = {w.path.rpartition("/")[0].rpartition("/")[2] + w.path.rpartition("/")[2]: w for w in model.weights}
    kept, new = [], []
    for theirs in classifier.weights:
        key = theirs.path.rpartition("/")[0].rpartition("/")[2] + theirs.path.rpartition("/")[2]
        same = mine[key].shape == theirs.shape and (mine[key].numpy() == theirs.numpy()).all()
        (kept if same else new).append(key)
    assert sorted(new) == ["predictionsbias", "predictionskernel"]
    assert model.output_shape == (None, 7)


@pytest.mark.slow
def test_random_weights_follow_the_seed(preset):
    _, classifier, folder = preset

    def kernel(seed):
        seed_everything(seed)
        return hub.build(20, 64, str(folder), weights="none").trainable_variables[0].numpy()

    one = kernel(1)
    assert (one == kernel(1)).all() and (one != kernel(2)).any()
    assert (one != classifier.trainable_variables[0].numpy()).any()


@pytest.mark.slow
def test_a_recipe_names_a_preset_or_a_folder_beside_it(tmp_path):
    """And it runs: the student that is saved loads again."""
    name = "mobilenet_v3_small_100_imagenet"
    classifier_of(name).save_to_preset(str(tmp_path / "presets" / name))
    text = """
        schema_version = 1
        name = "hub"
        [dataset]
        name = "digits"
        image_size = 32
        train = "train[:80]"
        validation = "train[80:120]"
        test = "test[:40]"
        [student]
        name = "keras_hub"
        preset = "PRESET"
        [report]
        measure = false
        [train]
        epochs = 1
        batch_size = 40
    """
    (tmp_path / "named.toml").write_text(text.replace("PRESET", name))
    assert kdrecipes.load_recipe(tmp_path / "named.toml").data["student"]["preset"] == name
    (tmp_path / "hub.toml").write_text(text.replace("PRESET", f"presets/{name}"))
    report = kdrecipes.run(kdrecipes.load_recipe(tmp_path / "hub.toml"), tmp_path / "run")
    [arm] = report["arms"]
    # The published backbone, its expansion to 1,024 features, and 10 classes.
    assert arm["params"] == 939_120 + 576 * 1024 + 1024 + 10 * 1025


# --- what is wrong ---------------------------------------------------------------------------------------------------


def refused(**options):
    with pytest.raises(EnvironmentProblem) as caught:
        hub.build(7, 64, **options)
    return str(caught.value)


def test_an_unknown_preset_names_the_nearest():
    message = refused(preset="mobilenet_v3_small_imagenet")
    assert "has no such preset" in message and "mobilenet_v3_small_" in message.partition("Did you mean")[2]


def test_no_network_says_what_to_bring_where(monkeypatch):
    import keras_hub

    def offline(*args, **options):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(keras_hub.models.ImageClassifier, "from_preset", offline)
    message = refused(preset="efficientnet_b0_ra_imagenet")
    assert "kaggle://keras/efficientnet/keras/efficientnet_b0_ra_imagenet" in message
    assert "Name or service not known" in message and "save_to_preset" in message and "./folder" in message


def test_a_folder_that_is_no_preset_is_said(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"class_name": "Other"}))
    assert "no folder of an image classifier" in refused(preset=str(tmp_path))


def test_a_missing_keras_hub_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "keras_hub", None)
    assert "pip install keras-hub" in refused(preset="efficientnet_b0_ra_imagenet")


@pytest.mark.slow
def test_a_fixed_image_size_is_changed_where_the_weights_allow(tmp_path):
    classifier = classifier_of("mobilenet_v3_small_100_imagenet", image_shape=(96, 96, 3))
    classifier.save_to_preset(str(tmp_path / "fixed"))
    model = hub.build(20, 64, str(tmp_path / "fixed"))
    flexible = classifier_of("mobilenet_v3_small_100_imagenet")
    with torch.no_grad():
        torch.testing.assert_close(
            model(pixels(64)), flexible(pixels(64) * torch.tensor(SCALE) + torch.tensor(OFFSET)), rtol=1e-4, atol=1e-5
        )


@pytest.mark.slow
def test_it_keeps_the_contract(tmp_path):
    from kdrecipes.testing import check_model

    classifier_of("mobilenet_v3_small_100_imagenet").save_to_preset(str(tmp_path / "preset"))
    check_model(hub.COMPONENT, preset=str(tmp_path / "preset"), image_size=[32], classes=[3, 10])
