"""Any image classification builder of TensorFlow Datasets (TFDS), read by random access and without TensorFlow."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdrecipes.components.datasets.decoding import decode
from kdrecipes.components.datasets.source import SPLIT_OPTION, file_facts, missing_split
from kdrecipes.components.datasets.tfds_prepare import count_classes, last_line
from kdrecipes.components.datasets.tfds_prepare import prepare as prepare  # fashion_mnist calls it through here
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options
from kdrecipes.errors import KDRecipesError, RunError
from kdrecipes.hashing import digest


@dataclass
class TFDSSource:
    """One split of a prepared builder.

    Args:
        records: TFDS's data source, which leaves images undecoded.
        image_key: feature that holds the image.
        label_key: feature that holds the class.
        channels: 1 where the builder declares grey images, else 3.
        classes: name of each class.
        shards: (name, number of examples) of each file, in order.
        fingerprint: changes when the builder's version or its files do.
    """

    records: Any
    image_key: str
    label_key: str
    channels: int
    classes: list[str]
    shards: list[tuple[str, int]]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Example `index`: `image` uint8 (height, width, 1, 3 or 4) and `label`, an int."""
        if not 0 <= index < len(self):  # TFDS raises a ValueError
            raise IndexError(index)
        record = self.records[index]
        # TFDS's own decoder gives indices for palette images and four channels for CMYK; it ignores EXIF, and so do we
        try:
            image = decode(io.BytesIO(record[self.image_key]), upright=False)
        except Exception as error:  # Pillow's readers raise almost anything on damaged files
            raise ValueError(f"{self.name_of(index)}: {error}") from error  # the store decides what is fatal
        image = (
            image if image.shape[-1] == 4 else image[..., : self.channels]
        )  # the run lays transparent ones on a ground
        return {"image": image, "label": int(record[self.label_key])}

    def name_of(self, index: int) -> str:
        """The example's id in TFDS: file and position in it."""
        for name, examples in self.shards:
            if index < examples:
                return f"{name}__{index}"
            index -= examples
        raise IndexError(index)


def build(
    split: str = "train",
    *,
    builder: str,
    version: str | None = None,
    data_dir: str | None = None,
    image_key: str = "image",
    label_key: str = "label",
) -> TFDSSource:
    """The source of one split of a TFDS builder, which is prepared first if need be."""
    folder = prepare(builder, version, data_dir)
    try:
        import tensorflow_datasets as tfds

        prepared = tfds.builder_from_directory(folder)
        info = prepared.info
        if split not in info.splits:
            raise missing_split(split, info.splits)
        for key, name, kind in (
            (image_key, "image_key", tfds.features.Image),
            (label_key, "label_key", tfds.features.ClassLabel),
        ):
            if not isinstance(dict(info.features).get(key), kind):
                fits = [other for other, feature in info.features.items() if isinstance(feature, kind)]
                raise RunError(
                    f"{info.full_name} has no {kind.__name__} feature {key!r}; "
                    f"it has {', '.join(map(repr, fits)) or 'none'}"
                ).at(f"dataset.{name}")
        records = prepared.as_data_source(split, decoders={image_key: tfds.decode.SkipDecoding()})
        files = [Path(file) for file in info.splits[split].filepaths]
        return TFDSSource(
            records=records,
            image_key=image_key,
            label_key=label_key,
            channels=1 if info.features[image_key].shape[-1] == 1 else 3,
            classes=list(info.features[label_key].names),
            shards=[(file.name, count) for file, count in zip(files, info.splits[split].shard_lengths, strict=True)],
            fingerprint=digest("tfds", info.full_name, split, file_facts(files, folder)),
        )
    except KDRecipesError:
        raise
    except Exception as error:  # whatever TFDS meets in damaged or foreign files
        raise RunError(f"TensorFlow Datasets cannot read {builder!r} in {folder}: {last_line(error)}") from error


def classes_of(builder: str, version: str | None = None, label_key: str = "label", **_: Any) -> int:
    """How many classes the builder has, without its data."""
    return count_classes(builder, version, label_key)


build.count_classes = classes_of  # type: ignore[attr-defined]

COMPONENT = Component(
    kind="dataset",
    name="tfds",
    build=build,
    options=options(
        "dataset",
        build,
        split=SPLIT_OPTION,
        builder={
            "pattern": r"^[A-Za-z0-9_]+(/[A-Za-z0-9_.+-]+)*(?![\s\S])",
            "x-rule": 'must be the name of a TFDS builder, such as "food101", or "name/config"',
            "examples": ["food101", "imagenette/320px-v2"],
            "description": 'Name of the TFDS builder, or "name/config"',
        },
        version={
            "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+(?![\s\S])",
            "x-rule": 'must be three numbers, such as "3.0.1"',
            "examples": ["3.0.1"],
            "description": 'Version of the builder, such as "3.0.1"; absent: what is prepared, else the newest',
        },
        data_dir={
            "minLength": 1,
            "format": "path",
            "examples": ["~/tensorflow_datasets"],
            "description": "Where TFDS keeps its data sets; absent: $TFDS_DATA_DIR, else ~/tensorflow_datasets",
        },
        image_key={"description": "Feature that holds the image"},
        label_key={"description": "Feature that holds the class"},
    ),
    summary="any image classification builder of TensorFlow Datasets",
)
