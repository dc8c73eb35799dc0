"""A transformers image classifier as a torch module from raw pixels to logits."""

from __future__ import annotations

import inspect
import os
from typing import Any

import numpy as np
import torch

from kdrecipes import EnvironmentProblem


class ImageClassifier(torch.nn.Module):
    """Prepares pixels as the classifier's own image processor does, and asks the classifier.

    Args:
        classifier: a transformers model whose output has `logits`.
        matrix, offset: (3, 3) and (3,): a pixel becomes `pixel @ matrix + offset`.
        options: more keyword arguments of the classifier's call.
    """

    def __init__(self, classifier: Any, matrix: torch.Tensor, offset: torch.Tensor, options: dict[str, Any]):
        super().__init__()
        self.classifier, self.options = classifier, options
        # Not persistent: they are no weights.
        self.register_buffer("matrix", matrix, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes) of pixels, float (batch, height, width, 3) in 0–255."""
        pixels = (images @ self.matrix + self.offset).permute(0, 3, 1, 2)
        return self.classifier(pixel_values=pixels, **self.options).logits


def pixel_map(processor: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What an image processor does to a pixel beside resizing and cropping: `pixel @ matrix + offset`.

    It is asked: rescaling, normalisation (of EfficientNet twice) and the order of channels are linear in a pixel.
    """

    def shown(red: int, green: int, blue: int) -> torch.Tensor:
        image = np.full((32, 32, 3), (red, green, blue), np.uint8)
        prepared = processor(image, do_resize=False, do_center_crop=False, return_tensors="pt")["pixel_values"][0]
        return prepared[:, 16, 16].double()

    offset = shown(0, 0, 0)
    matrix = torch.stack([(shown(*pixel) - offset) / 255 for pixel in np.eye(3, dtype=int) * 255])
    return matrix.float(), offset.float()


def image_classifier(classes: int, image_size: int, model: str, revision: str = "main") -> ImageClassifier:
    """Load a classifier and its image processor.

    Args:
        classes: width of the logits; a head of another width is replaced by a new one.
        image_size: pixels per side that it will be shown.
        model: name on the hub, or a folder.
        revision: branch, tag or commit on the hub.

    Raises:
        EnvironmentProblem: it can't be found or fetched, is no image classifier, or takes other images only.
    """
    from transformers import AutoImageProcessor, AutoModelForImageClassification
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it would warn of the head, which is told here
    try:
        classifier = AutoModelForImageClassification.from_pretrained(
            model, revision=revision, num_labels=classes, ignore_mismatched_sizes=True, use_safetensors=True
        )
        prepared = pixel_map(AutoImageProcessor.from_pretrained(model, revision=revision))
    except Exception as error:  # transformers raises all kinds for what is missing
        text = " ".join(str(error).split())[:400]
        bring = (
            "The folder has to hold config.json, model.safetensors and preprocessor_config.json."
            if os.path.isdir(model)
            else f"Where there is no network: fetch https://huggingface.co/{model} elsewhere and name the folder, "
            'model = "./folder".'
        )
        raise EnvironmentProblem(
            f"model = {model!r} can't be loaded ({type(error).__name__}: {text}). {bring}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    options: dict[str, Any] = {}
    own = getattr(classifier.config, "image_size", image_size)
    if own not in (image_size, [image_size, image_size], (image_size, image_size)):
        if "interpolate_pos_encoding" in inspect.signature(classifier.forward).parameters:
            options["interpolate_pos_encoding"] = True
        elif _has_positions(classifier):
            raise EnvironmentProblem(
                f"model = {model!r} takes images of {own} px only: set image_size = {own} in its table."
            )
    return ImageClassifier(classifier, *prepared, options)


def _has_positions(classifier: Any) -> bool:
    """Whether the network's weights belong to places in the image."""
    return any("position" in name for name, _ in classifier.named_parameters())
