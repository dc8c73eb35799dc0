"""First weights of the networks of `keras.applications`: the option, and the published ones put into a network."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.components.models.weights import load_keras_weights
from kdrecipes.errors import EnvironmentProblem

if TYPE_CHECKING:
    import keras

# Keras' networks keep 0.99 to 0.9997 of their moving statistics each step: after 2,000 steps a share of the initial
# values would still be there, of MobileNetV3 an eighth, and test figures would be those of a network that nobody
# trained. 0.9 forgets in 50 steps.
BATCH_NORM_MOMENTUM = 0.9

WEIGHTS_OPTION: dict[str, Any] = {
    "anyOf": [{"enum": ["none", "imagenet"]}, {"type": "string", "minLength": 1, "format": "path"}],
    "examples": ["none", "imagenet", "../weights/mine.weights.h5"],
    "x-rule": 'must be "none", "imagenet" or a .weights.h5 file',
    "description": '"none", "imagenet" (a download), or a .weights.h5 file of this same model.',
}


def give_weights(model: keras.Model, weights: str, architecture: str, published: Callable[[], keras.Model]) -> None:
    """Give a network its first weights.

    Args:
        model: the network.
        weights: the option: "none", "imagenet" or a file.
        architecture: what `keras.applications` calls it.
        published: builds Keras' own network of 1,000 classes with the ImageNet weights.

    Raises:
        EnvironmentProblem: they can't be downloaded, or the file does not fit.
    """
    if weights == "imagenet":
        _transfer(_fetched(architecture, published), model)
    elif weights != "none":
        load_keras_weights(model, Path(weights))


def _transfer(source: keras.Model, model: keras.Model) -> None:
    """Copy all weights of the 1000-class ImageNet network; a head for other classes keeps its own."""
    import keras
    import numpy as np

    pairs = list(zip(*([la for la in m.layers if la.weights] for m in (source, model)), strict=True))
    if source.output_shape != model.output_shape:
        del pairs[-1]
    for theirs, mine in pairs:
        mine.set_weights(theirs.get_weights())
        if isinstance(theirs, keras.layers.Normalization):
            # Keras' ImageNet EfficientNet divides by √std twice, in two layers; here one layer divides by std.
            after = source.layers[source.layers.index(theirs) + 1]
            mean, variance, count = theirs.get_weights()
            mine.set_weights([mean, variance / np.square(after.scale), count])
            mine.finalize_state()


def _fetched(architecture: str, published: Callable[[], keras.Model]) -> keras.Model:
    """The 1000-class network; a download that fails becomes one message instead of a traceback."""
    try:
        return published()
    except Exception as error:
        text = " ".join(str(error).split())
        if not isinstance(error, OSError) and "URL fetch failure" not in text and "corrupted file" not in text:
            raise
        url = re.search(r"https?://\S+(?=:)", text)
        folder = Path(os.environ.get("KERAS_HOME", "~/.keras"), "models")
        raise EnvironmentProblem(
            f"The ImageNet weights of {architecture} could not be downloaded ({text}). "
            f"Fetch {url[0] if url else 'them'} on a machine that can and put the file into {folder}, "
            'or use weights = "none".'
        ) from error
