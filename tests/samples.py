"""What tests of several rooms use: a small recipe; IDX files, TFDS' downloads; KerasHub's and transformers' nets."""

from __future__ import annotations

import copy
import gzip
import json
import struct
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from kdrecipes.backend import keras, seed_everything, without_tensorflow
from kdrecipes.data.examples import ViewSettings
from kdrecipes.recipe.load import load_recipe
from kdrecipes.recipe.make import train_table, views_table
from kdrecipes.recipe.resolve import fill
from kdrecipes.recipe.structure import definition, structure_schema

# What makes digits a matter of a second: 256 images, 8 steps an epoch.
SMALL = [
    "student.width=3",
    "student.depth=1",
    "teacher.width=8",
    "teacher.train.epochs=3",
    "train.epochs=2",
    'dataset.train="train[:320]"',
    "dataset.validation=0.2",
    "report.measure=false",
]
# What a run of it does: the lines of its history, (arm, epoch).
EPOCHS = [("teacher", 1), ("teacher", 2), ("teacher", 3), ("baseline", 1), ("baseline", 2), ("kd", 1), ("kd", 2)]
SCALE, OFFSET = [1 / 50.0, 1 / 60.0, 1 / 70.0], [-2.0, -1.9, -1.8]
MEAN, DEVIATION = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
# KerasHub's own converters of timm's weights hold the architectures.
TESTED = {
    "mobilenet_v3_small_100_imagenet": ("mobilenet", "mobilenetv3_small_100"),
    "mobilenet_v3_large_100_imagenet": ("mobilenet", "mobilenetv3_large_100"),
    "efficientnet_b0_ra_imagenet": ("efficientnet", "efficientnet_b0"),
    "efficientnet_b3_ra2_imagenet": ("efficientnet", "efficientnet_b3"),
}


def small(*more, **options):
    """The recipe digits made small, with more changes; `options` as for `load_recipe`."""
    return load_recipe("digits", [*SMALL, *more], **options)


def short(*more, **options):
    """The same with one epoch of each fit."""
    return small("teacher.train.epochs=1", "train.epochs=1", *more, **options)


def student_arrays(folder, label):
    """The weights of a student that a run saved, e.g. "kd-0"."""
    model = keras.models.load_model(folder / "students" / f"{label}.keras", compile=False, safe_mode=True)
    return [v.numpy() for v in model.weights]  # not the seeds' states, which a .keras file does not hold


@contextmanager
def read_back_here():
    """Exports are read back in this process: the fresh one imports torch, which takes longer than all else."""
    from kdrecipes.components.exporters.found import exporter_named

    def answered(format, options, plugins, file, pixels):
        ask = exporter_named(format, options, plugins).load(file)
        return np.concatenate([ask(pixels[i : i + 64]) for i in range(0, len(pixels), 64)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdrecipes.runs.export.logits_of_file", answered)
        yield


def classifier_of(name, classes=20, **options):
    """The published architecture with random weights, statistics included."""
    without_tensorflow()
    import importlib

    import keras_hub

    family, architecture = TESTED[name]
    converter = importlib.import_module(f"keras_hub.src.utils.timm.convert_{family}")
    config = converter.convert_backbone_config({"architecture": architecture})
    key = "input_shape" if family == "efficientnet" else "image_shape"
    if key in options:
        config[key] = options[key]
    seed_everything(0)
    backbone = converter.backbone_cls(**config)
    kind = {"mobilenet": "MobileNet", "efficientnet": "EfficientNet"}[family]
    image_converter = getattr(keras_hub.layers, f"{kind}ImageConverter")(
        image_size=(224, 224), scale=SCALE, offset=OFFSET
    )
    preprocessor = getattr(keras_hub.models, f"{kind}ImageClassifierPreprocessor")(image_converter=image_converter)
    classifier = getattr(keras_hub.models, f"{kind}ImageClassifier")(backbone, classes, preprocessor=preprocessor)
    for layer in classifier._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.random.default_rng(1).normal(size=layer.moving_mean.shape) * 0.1)
    return classifier


def save_transformers(folder, kind, classes=10, **options):
    """A folder as transformers writes it: a tiny classifier with random weights and statistics, its image processor."""
    import torch
    import transformers

    configs = {
        "resnet": lambda: transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **options
        ),
        "vit": lambda: transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, patch_size=4,
            image_size=16, **options
        ),
    }  # fmt: skip
    torch.manual_seed(0)
    config = configs[kind]()
    config.num_labels = classes
    model = transformers.AutoModelForImageClassification.from_config(config)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
    model.save_pretrained(folder)
    processor = {"resnet": transformers.ConvNextImageProcessor, "vit": transformers.ViTImageProcessor}[kind]
    processor(image_mean=MEAN, image_std=DEVIATION, rescale_factor=1 / 255).save_pretrained(folder)
    return model.eval()


def offline(monkeypatch):
    """No network: every proxy is a door that nobody opens."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(where: Path, counts=(30, 10), end="", name="{}-{}-ubyte") -> Path:
    """FashionMNIST's four files with `counts` examples in train and test."""
    where.mkdir(parents=True, exist_ok=True)
    for prefix, count in zip(("train", "t10k"), counts, strict=True):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28))
        for kind, array in (("images-idx3", images), ("labels-idx1", np.arange(count) % 10)):
            data = idx(array)
            (where / (name.format(prefix, kind) + end)).write_bytes(gzip.compress(data, 1) if end else data)
    return where


def place_downloads(data_dir: Path, builder: str, files: dict[str, bytes]) -> None:
    """Put files where TFDS looks for what it has downloaded before: it trusts the name, which holds the checksum."""
    import tensorflow_datasets
    from tensorflow_datasets.core.download import resource

    for url, info in tensorflow_datasets.builder(builder, data_dir=data_dir).url_infos.items():
        name = url.rsplit("/", 1)[-1]
        file = data_dir / "downloads" / builder / resource.get_dl_fname(url, info.checksum)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(files[name])
        facts = {"checksum": info.checksum, "size": int(info.size), "filename": name}
        file.with_name(file.name + ".INFO").write_text(
            json.dumps({"dataset_names": [builder], "urls": [url], "original_fname": name, "url_info": facts})
        )


def views_of(written):
    """`[dataset.views]` as a recipe has it, from what is written there."""
    return views_table(fill(copy.deepcopy(dict(written)), definition("views"), structure_schema()))


def settings_of(written, seed=0):
    """The settings of views, from what is written in `[dataset.views]`."""
    return ViewSettings(views_of(written), seed)


def train_of(written):
    """`[train]` as a recipe has it, from what is written there."""
    written = copy.deepcopy({"epochs": 1, **written})
    root = structure_schema()
    fill(written, definition("train"), root)
    for key, group in (("optimizer", "optimizers"), ("schedule", "schedules")):
        fill(written[key], definition(group)[written[key]["name"]], root)
    return train_table(written)
