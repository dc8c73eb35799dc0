"""The plugin kdrecipes-transformers: tiny classifiers with random weights, from folders, as teachers."""

import numpy as np
import pytest
import torch
from samples import DEVIATION, MEAN, save_transformers

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.runs.teacher import weights_fingerprint
from kdrecipes.torch_modules import as_keras, variables_of
from kdrecipes.training.fit import observed


def built(folder, classes=10, image_size=16):
    from kdrecipes_transformers import build

    return build(classes, image_size, str(folder))


def pixels(size):
    return torch.randint(0, 256, (3, size, size, 3), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_logits_are_the_classifiers_on_its_own_preprocessing(tmp_path, kind):
    model = save_transformers(tmp_path, kind)
    images = pixels(16)
    with torch.no_grad():
        prepared = ((images / 255 - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).permute(0, 3, 1, 2)
        torch.testing.assert_close(built(tmp_path).eval()(images), model(prepared).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["ViT", "ConvNext", "EfficientNet", "MobileViT", "Bit", "LevitImage"])
@pytest.mark.parametrize("rescale_offset", [False, True])
def test_pixels_are_prepared_as_the_image_processor_does(kind, rescale_offset):
    """Whatever it is: EfficientNet's normalises twice, MobileViT's turns the channels round."""
    import transformers
    from kdrecipes_transformers.model import pixel_map

    if rescale_offset and kind != "EfficientNet":
        return
    options = {"rescale_offset": True} if rescale_offset else {}
    processor = getattr(transformers, f"{kind.removesuffix('Image')}ImageProcessor")(**options)
    matrix, offset = pixel_map(processor)
    images = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), np.uint8)
    expected = processor(list(images), do_resize=False, do_center_crop=False, return_tensors="pt")["pixel_values"]
    found = (torch.from_numpy(images).float() @ matrix + offset).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)


def test_a_classifier_of_one_size_says_which(tmp_path, monkeypatch):
    import transformers

    save_transformers(tmp_path, "vit")
    monkeypatch.setattr(transformers.ViTForImageClassification, "forward", lambda self, pixel_values: None)
    with pytest.raises(EnvironmentProblem, match=r"takes images of 16 px only: set image_size = 16 in its table\."):
        built(tmp_path, image_size=32)


def test_positions_are_interpolated_for_another_image_size(tmp_path):
    save_transformers(tmp_path, "vit")
    assert built(tmp_path, image_size=24)(pixels(24)).shape == (3, 10)


@pytest.mark.slow
def test_a_head_of_another_width_is_new(tmp_path):
    save_transformers(tmp_path, "resnet")
    assert built(tmp_path, classes=4)(pixels(16)).shape == (3, 4)


def test_what_cant_be_loaded_is_one_message(tmp_path):
    with pytest.raises(EnvironmentProblem, match=r"can't be loaded .* config\.json"):
        built(tmp_path)


def test_no_network_names_the_address(monkeypatch):
    import transformers

    def offline(*args, **options):
        raise OSError("We couldn't connect")

    monkeypatch.setattr(transformers.AutoModelForImageClassification, "from_pretrained", offline)
    with pytest.raises(EnvironmentProblem, match=r"couldn't connect.*https://huggingface\.co/nobody/nothing"):
        built("nobody/nothing")


# --- in a run --------------------------------------------------------------------------------------------------------


def recipe(tmp_path, *more):
    text = """
        schema_version = 1
        name = "hf"
        requires = ["kdrecipes-transformers"]
        [dataset]
        name = "digits"
        image_size = 16
        train = "train[:160]"
        validation = "train[160:240]"
        test = "test[:60]"
        [teacher]
        name = "transformers"
        model = "./classifier"
        preflight = "warn"
        [student]
        name = "cnn"
        image_size = 8
        width = 2
        [loss]
        name = "kd"
        [report]
        measure = false
        [train]
        epochs = 2
        batch_size = 40
    """
    (tmp_path / "hf.toml").write_text(text)
    return kdrecipes.load_recipe(tmp_path / "hf.toml", more)


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ['teacher.cache="off"'], ['teacher.precision="bfloat16"']])
def test_it_teaches_from_cached_and_live_logits(tmp_path, home, more):
    model = save_transformers(tmp_path / "classifier", "resnet")
    report = kdrecipes.run(recipe(tmp_path, *more), tmp_path / "run")
    assert report["teachers"][0]["params"] == sum(p.numel() for p in model.parameters())
    assert len(report["arms"]) == 2


@pytest.mark.slow
def test_it_is_fine_tuned_once_and_kept_with_its_statistics(tmp_path, home):
    save_transformers(tmp_path / "classifier", "resnet", classes=3)
    first = kdrecipes.run(recipe(tmp_path, "teacher.train.epochs=1"), tmp_path / "run")
    second = kdrecipes.run(recipe(tmp_path, "teacher.train.epochs=1", "seed=0", "name='other'"), tmp_path / "other")
    (before,), (after,) = first["teachers"], second["teachers"]
    assert after["reused"] and after["test_accuracy"] == before["test_accuracy"]
    assert after["sha256"] == before["sha256"]


@pytest.mark.slow
def test_an_interrupted_fine_tuning_ends_as_if_it_were_not(tmp_path, home, monkeypatch):
    """A batch normalisation's statistics are no variables of Keras, and are kept all the same."""
    save_transformers(tmp_path / "classifier", "resnet")
    options = ["teacher.train.epochs=2"]
    whole = kdrecipes.run(recipe(tmp_path, *options), tmp_path / "whole")
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "other"))

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def stopping(label, distiller, loader, callbacks):
        if label == "teacher":
            callbacks.append(Stop())

    with observed(stopping), pytest.raises(KeyboardInterrupt):
        kdrecipes.run(recipe(tmp_path, *options), tmp_path / "stopped")
    again = kdrecipes.run(recipe(tmp_path, *options), tmp_path / "stopped")
    assert again["teachers"][0]["sha256"] == whole["teachers"][0]["sha256"]


@pytest.mark.slow
def test_a_folder_whose_weights_changed_is_another_teacher(tmp_path, home):
    save_transformers(tmp_path / "classifier", "resnet")
    options = [
        "teacher.train.epochs=1",
        "train.head_learning_rate_factor=5",
        "teacher.train.head_learning_rate_factor=1",
    ]
    first = kdrecipes.run(recipe(tmp_path, *options), tmp_path / "run")
    save_transformers(tmp_path / "classifier", "resnet", classes=4)
    second = kdrecipes.run(recipe(tmp_path, *options), tmp_path / "other")
    assert not second["teachers"][0]["reused"] and second["teachers"][0]["sha256"] != first["teachers"][0]["sha256"]


@pytest.mark.slow
def test_it_learns_as_a_student(tmp_path, home):
    save_transformers(tmp_path / "classifier", "resnet")
    report = kdrecipes.run(recipe(tmp_path, 'student={name="transformers", model="./classifier"}'), tmp_path / "run")
    assert {arm["student"] for arm in report["arms"]} == {
        "students/baseline-0.safetensors",
        "students/kd-0.safetensors",
    }


# --- torch modules of any kind ---------------------------------------------------------------------------------------


class Pooled(torch.nn.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.norm, self.head = torch.nn.BatchNorm1d(3), torch.nn.Linear(3, classes)

    def forward(self, images):
        return self.head(self.norm(images.mean((1, 2))))


def test_statistics_inside_a_module_are_estimated_anew():
    from kdrecipes.training.batch_norm import reestimate_batch_norm

    batches = [torch.rand(8, 4, 4, 3, generator=torch.Generator().manual_seed(i)) * (i + 1) for i in range(3)]
    module = Pooled()
    model = as_keras(module, 4, 4)
    reestimate_batch_norm(model, [({"image": images}, None) for images in batches], 200)
    expected = torch.stack([images.mean((0, 1, 2)) for images in batches]).mean(0)
    torch.testing.assert_close(module.norm.running_mean, expected)
    assert module.norm.momentum == 0.1


def test_a_buffer_is_part_of_what_is_fingerprinted_and_kept():
    model = as_keras(Pooled(), 4, 8)
    assert len(variables_of(model)) == len(model.variables) + 3
    before = weights_fingerprint(model)
    model(pixels(8), training=True)
    assert weights_fingerprint(model) != before


def test_a_module_of_another_width_is_said():
    with pytest.raises(ValueError, match=r"gives logits \(batch, 5\)\. Received: \(2, 4\)"):
        as_keras(Pooled(), 5, 8)


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_it_keeps_the_contract(tmp_path, kind):
    from kdrecipes.testing import check_model

    save_transformers(tmp_path, kind)
    check_model(kdrecipes.component("model", "transformers"), model=str(tmp_path), image_size=[32, 16])
