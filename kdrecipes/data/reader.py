"""How a source's examples become square RGB pixels of one size and int64 labels, with what is refused or counted."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from kdrecipes.errors import KDRecipesError, RunError

_PROBE = 64  # images looked at before a dataset's images are believed to share one size


class MixedSizes(Exception):
    """The images do not share one square size."""


class Reader:
    """Reads a source.

    Args:
        source: a dataset component's source.
        arrays: all its images and labels at once, where it can give them, else None.
        name: for messages.
        size: pixels per side; None: the native size.
        resize: "squash" or "crop".
        corrupt_limit: greatest share of unreadable images.

    Attributes:
        side: pixels per side of what is read.
        classes: the class names.
        converted: how many images so far were neither RGB nor one channel.
        skipped: names of the images so far that could not be read.

    Raises:
        MixedSizes: here or in `read`, when `size` is None and the images do not share one square size.
    """

    def __init__(self, source: Any, arrays: Any, name: str, size: int | None, resize: str, corrupt_limit: float):
        self.source, self.arrays, self.name, self.size, self.resize = source, arrays, name, size, resize
        self.classes = [str(name) for name in source.classes]
        self.limit = math.floor(corrupt_limit * len(source) + 1e-9)  # 0.29 · 100 is 28.999… in binary
        self.converted = 0
        self.skipped: list[str] = []
        self.side = size or self._native_side()

    def name_of(self, i: int) -> str:
        """What messages call the example."""
        return self.source.name_of(i) if hasattr(self.source, "name_of") else f"example {i}"

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The readable ones of some examples: images, labels and their indices in the source."""
        if self.arrays is not None and np.shape(self.arrays[0])[1:3] == (self.side, self.side):
            images, labels = (np.asarray(array[start:stop]) for array in self.arrays)
            self._check_form(images.dtype, images.shape[1:], start)
            if labels.dtype.kind not in "iu":
                raise RunError(f"{self.name}: the labels are {labels.dtype}; a label is an integer.")
            images, index = self._rgb(images), np.arange(start, stop, dtype=np.int64)
        else:
            found = [example for i in range(start, stop) if (example := self._example(i)) is not None]
            images = np.array([image for image, _, _ in found], np.uint8).reshape(-1, self.side, self.side, 3)
            labels = np.array([label for _, label, _ in found], np.int64)
            index = np.array([i for _, _, i in found], np.int64)
        for row in np.flatnonzero((labels < 0) | (labels >= len(self.classes)))[:1]:
            raise RunError(
                f"{self.name}: {self.name_of(int(index[row]))} has label {labels[row]}; with {len(self.classes)} "
                f"classes labels go from 0 to {len(self.classes) - 1}."
            )
        return np.ascontiguousarray(images), labels.astype(np.int64), index

    def _item(self, i: int) -> tuple[Any, Any]:
        if self.arrays is not None:
            return self.arrays[0][i], self.arrays[1][i]
        example = self.source[i]
        return example["image"], example["label"]

    def _example(self, i: int) -> tuple[np.ndarray, int, int] | None:
        try:
            image, label = self._item(i)
        except KDRecipesError:
            raise
        except Exception as error:  # a damaged image may raise anything
            self._skip(i, error)
            return None
        try:
            number = operator.index(label)
        except TypeError:
            raise RunError(f"{self.name}: {self.name_of(i)} has label {label!r}; a label is an integer.") from None
        image = np.asarray(image)
        self._check_form(image.dtype, image.shape, i)
        return self._square(self._rgb(image[None])[0]), number, i

    def _skip(self, i: int, error: Exception) -> None:
        self.skipped.append(self.name_of(i))
        if len(self.skipped) > self.limit:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RunError(
                f"{self.name}: {self.name_of(i)} can't be read ({reason}); that is unreadable image "
                f"{len(self.skipped)} of {len(self.source)}, and dataset.corrupt_limit allows {self.limit}."
            ) from error

    def _native_side(self) -> int:
        """The side of the square that the first images share."""
        shapes = set()
        for i in range(min(_PROBE, len(self.source))):
            try:
                image = np.asarray(self._item(i)[0])
            except Exception:  # `read` meets it again and counts it
                continue
            self._check_form(image.dtype, image.shape, i)
            shapes.add(image.shape[:2])
        if not shapes:  # then `read` says what is wrong with the first one, or finds none either
            return 1
        height, width = shapes.pop()
        if shapes or height != width:
            raise MixedSizes
        return height

    def _check_form(self, dtype: Any, shape: tuple[int, ...], i: int) -> None:
        if dtype != np.uint8 or len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and shape[2] > 4):
            raise RunError(
                f"{self.name}: {self.name_of(i)} is {dtype} of shape {shape}; an image is uint8 "
                "(height, width, channels) with 1 to 4 channels."
            )

    def _rgb(self, images: np.ndarray) -> np.ndarray:
        """uint8 (examples, height, width, 3) of (examples, height, width[, channels]): one channel is repeated."""
        if images.ndim == 3:
            images = images[..., None]
        if images.shape[-1] in (2, 4):
            self.converted += len(images)
            images = images[..., :-1]
        return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images

    def _square(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        if (height, width) == (self.side, self.side):
            return image
        if self.size is None:
            raise MixedSizes
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(image))
        if self.resize == "crop":
            side = min(height, width)
            left, top = (width - side) // 2, (height - side) // 2
            picture = picture.crop((left, top, left + side, top + side))
        return np.asarray(picture.resize((self.side, self.side), Image.Resampling.BILINEAR))
