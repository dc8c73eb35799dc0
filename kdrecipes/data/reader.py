"""How a source's examples become square RGB pixels of one size and int64 labels, with what is refused or counted."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kdrecipes.components.datasets.decoding import at_most
from kdrecipes.components.datasets.source import no_weight
from kdrecipes.disk.files import raise_what_lacks
from kdrecipes.errors import KDRecipesError, RunError
from kdrecipes.secret_values import without_secrets
from kdrecipes.wording import escaped, some_of

Labels = Literal["all", "some", "none"]
_PROBE = 64  # images looked at before a dataset's images are believed to share one size


class MixedSizes(Exception):
    """The images do not share one square size."""


@dataclass(frozen=True)
class Decoding:
    """How what a source gives becomes RGB.

    Attributes:
        background: RGB, each from 0 to 255, of what images with transparent pixels are laid on.
        max_pixels: of an image that is unpacked; one of more can't be read.
    """

    background: tuple[int, int, int] = (255, 255, 255)
    max_pixels: int = 89_478_485  # Pillow's own


USUAL = Decoding()  # what a recipe that says nothing asks for


@dataclass(frozen=True)
class Chunk:
    """Some examples of a source, read.

    Attributes:
        images: uint8 (examples, side, side, 3), of those that could be read.
        labels, index: int64 (examples,); `index` is the position in the source.
        converted: how many were neither RGB nor one channel.
        skipped: name of each that could not be read, and why.
        uniform: names of those with transparent pixels of which nothing but one colour is left.
    """

    images: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    converted: int
    skipped: list[tuple[str, str]]
    uniform: list[str]


class Reader:
    """Reads a source.

    Args:
        source: a dataset component's source.
        arrays: all its images and labels at once, where it can give them, else None.
        name: for messages.
        size: pixels per side; None: the native size.
        resize: "squash" or "crop".
        labels: "all" are read, and each must be one; "some": what is no label is -1; "none" is read, and each is -1.
        decoding: how images become RGB.

    Attributes:
        side: pixels per side of what is read.
        classes: the class names.

    Raises:
        MixedSizes: here or in `read`, when `size` is None and the images do not share one square size.
    """

    def __init__(
        self,
        source: Any,
        arrays: Any,
        name: str,
        size: int | None,
        resize: str,
        labels: Labels = "all",
        decoding: Decoding = USUAL,
    ):
        self.source, self.arrays, self.name, self.size, self.resize = source, arrays, name, size, resize
        self.labels, self.decoding = labels, decoding
        self.classes = [escaped(str(name)) for name in source.classes]
        self.side = size or self._native_side()

    def name_of(self, i: int) -> str:
        """What messages call the example."""
        return name_in(self.source, i)

    def read(self, start: int, stop: int) -> Chunk:
        """The examples from `start` to before `stop`.

        Raises:
            RunError: an image of an unknown form, a label out of range.
        """
        converted, skipped, uniform = 0, [], []
        if self.arrays is not None and np.shape(self.arrays[0])[1:3] == (self.side, self.side):
            images = np.asarray(self.arrays[0][start:stop])
            labels = np.full(len(images), -1) if self.labels == "none" else np.asarray(self.arrays[1][start:stop])
            self._check_form(images.dtype, images.shape[1:], start)
            if labels.dtype.kind not in "iu":
                raise RunError(f"{self.name}: the labels are {labels.dtype}; a label is an integer.")
            converted = len(images) * _is_converted(images.shape[1:])
            transparent = _transparent(images)
            images, index = _rgb(images, self.decoding.background), np.arange(start, stop, dtype=np.int64)
            uniform = [self.name_of(start + int(i)) for i in np.flatnonzero(transparent & _of_one_colour(images))]
        else:
            found = []
            for i in range(start, stop):
                example = self._example(i)
                if isinstance(example, str):
                    skipped.append((self.name_of(i), example))
                else:
                    image, label = example
                    converted += _is_converted(image.shape)
                    rgb = _rgb(image[None], self.decoding.background)
                    if (_transparent(image[None]) & _of_one_colour(rgb)).all():
                        uniform.append(self.name_of(i))
                    found.append((self._square(rgb[0]), label, i))
            images = np.array([image for image, _, _ in found], np.uint8).reshape(-1, self.side, self.side, 3)
            labels = np.array([label for _, label, _ in found], np.int64)
            index = np.array([i for _, _, i in found], np.int64)
        wrong = (labels < 0) | (labels >= len(self.classes))
        if self.labels != "all":
            labels = np.where(wrong, -1, labels)
        for row in np.flatnonzero(wrong)[: self.labels == "all"]:
            raise RunError(
                f"{self.name}: {self.name_of(int(index[row]))} has label {labels[row]}; with {len(self.classes)} "
                f"classes labels go from 0 to {len(self.classes) - 1}."
            )
        return Chunk(np.ascontiguousarray(images), labels.astype(np.int64), index, converted, skipped, uniform)

    def _item(self, i: int) -> tuple[Any, Any]:
        """An image and its label; -1 where labels are not to be read."""
        if self.arrays is not None:
            return self.arrays[0][i], -1 if self.labels == "none" else self.arrays[1][i]
        with at_most(self.decoding.max_pixels):
            example = self.source[i]
        return example["image"], self._label(example)

    def _label(self, example: Any) -> Any:
        if self.labels == "all":
            return example["label"]
        try:
            return -1 if self.labels == "none" else operator.index(example["label"])
        except Exception:  # of an image without a label a source may say anything
            return -1

    def _example(self, i: int) -> tuple[np.ndarray, int] | str:
        """An image as the source has it and its label; or why it can't be read."""
        try:
            image, label = self._item(i)
        except KDRecipesError:
            raise
        except Exception as error:  # a damaged image may raise anything
            raise_what_lacks(error)  # which is no fault of the image: it would be missing from the store for good
            text = escaped(without_secrets(" ".join(str(error).split()))) or type(error).__name__
            return text.removeprefix(f"{self.name_of(i)}: ")
        try:
            number = operator.index(label)
        except TypeError:
            raise RunError(f"{self.name}: {self.name_of(i)} has label {label!r}; a label is an integer.") from None
        image = np.asarray(image)
        self._check_form(image.dtype, image.shape, i)
        return image, number

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

    def _square(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        if (height, width) == (self.side, self.side):
            return image
        if self.size is None:
            raise MixedSizes
        from PIL import Image

        if self.resize == "crop":
            side = min(height, width)
            left, top = (width - side) // 2, (height - side) // 2
            image = image[top : top + side, left : left + side]
        picture = Image.fromarray(np.ascontiguousarray(image))
        return np.asarray(picture.resize((self.side, self.side), Image.Resampling.BILINEAR))


def name_in(source: Any, i: int) -> str:
    """What messages call an example of a source."""
    return escaped(source.name_of(i)) if hasattr(source, "name_of") else f"example {i}"


def source_weights(source: Any, name: str) -> np.ndarray | None:
    """What `source.weights` says, float32 (examples,); None where it is not there: all count alike.

    Args:
        source: a dataset component's source.
        name: for messages, e.g. "pets train".

    Raises:
        RunError: for another number of weights, and one that is no finite number of 0 or more.
    """
    found = getattr(source, "weights", None)
    if found is None:
        return None
    weights = np.asarray(found)
    if weights.shape != (len(source),) or weights.dtype.kind not in "iuf":
        raise RunError(
            f"{name}: its weights must be one number for each of its {len(source)} examples. Received: "
            f"{weights.dtype} of shape {weights.shape}"
        )
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0))).tolist()
    if wrong:
        told = [f"{name_in(source, i)}: {no_weight(weights[i].item())}" for i in wrong]
        raise RunError(
            f"{name}: {len(wrong):,} of its {len(source):,} weights can't be used: {some_of(told, 'weights')}."
        )
    return weights.astype(np.float32)


def _is_converted(shape: tuple[int, ...]) -> bool:
    """Whether an image (height, width[, channels]) has a channel that RGB has no place for."""
    return len(shape) == 3 and shape[2] in (2, 4)


def _transparent(images: np.ndarray) -> np.ndarray:
    """Which of some images (examples, height, width[, channels]) have a pixel that is not opaque: bool (examples,)."""
    if images.ndim == 3 or images.shape[-1] not in (2, 4):
        return np.zeros(len(images), bool)
    return np.asarray((images[..., -1] < 255).any((1, 2)))


def _of_one_colour(images: np.ndarray) -> np.ndarray:
    """Which of some images (examples, height, width, 3) show nothing: bool (examples,)."""
    return np.asarray((images == images[:, :1, :1]).all((1, 2, 3)))


def _rgb(images: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """uint8 (examples, height, width, 3) of (examples, height, width[, channels]).

    One channel is repeated; what has alpha is laid on the background.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[-1] in (2, 4):
        images, alpha = images[..., :-1], images[..., -1:]
        if alpha.min() < 255:
            return _laid(images, alpha, background)
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def _laid(images: np.ndarray, alpha: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Images (examples, height, width, 1 or 3) with their alpha on a ground of one colour, by Pillow's rounding."""
    from PIL import Image

    examples, height, width, _ = images.shape
    colours = np.broadcast_to(images, (examples, height, width, 3))
    joined = np.concatenate([colours, alpha], axis=-1).reshape(examples * height, width, 4)  # one tall picture
    picture = Image.fromarray(joined)
    laid = Image.alpha_composite(Image.new("RGBA", picture.size, (*background, 255)), picture)
    return np.asarray(laid)[..., :3].reshape(examples, height, width, 3)
