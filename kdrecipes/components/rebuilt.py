"""A saved network, opened: built anew where its file holds weights alone, or layers that only its plugin knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.components.registry import load_registry, unknown_component
from kdrecipes.disk.npz_sizes import DAMAGE, refuse_bombs
from kdrecipes.disk.saved_facts import SavedFacts
from kdrecipes.errors import KDRecipesError, RunError, UsageError, one_line

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray


def opened(file: Path, facts: SavedFacts, plugins: tuple[Path, ...] = ()) -> keras.Model:
    """The network of a `.keras` file, in Keras' safe mode, or of a `.safetensors` file, which is built anew.

    Args:
        file: its file.
        facts: what the file says of itself.
        plugins: single-file plugins to load first.

    Raises:
        UsageError: when no plugin provides the component that a `.safetensors` file is of, or none builds that network.
        RunError: when the network can't be opened.
    """
    import kdrecipes.layers  # noqa: F401  registers our own layers
    from kdrecipes import saved_models

    if file.suffix == ".safetensors" and facts.network:
        raise UsageError(
            f"{file} holds weights alone, of a network that no component builds: {facts.network}. The run's .keras "
            "file holds the whole network."
        )
    try:
        if file.suffix == ".keras":
            refuse_bombs(file)
    except (OSError, *DAMAGE) as error:
        raise RunError(f"{file} can't be opened: {one_line(error)[:400]}") from error
    try:
        if file.suffix == ".safetensors" and (model := with_weights(file, facts, plugins)) is not None:
            return model
        return saved_models.load(file, lambda: built_again(facts, plugins))
    except KDRecipesError:
        raise
    except Exception as error:
        first = error
    if file.suffix == ".keras" and load_registry(plugins).get("model", facts.component) is not None:
        try:
            built_again(facts, plugins)  # registers a plugin's own layers
            return saved_models.load(file, lambda: built_again(facts, plugins))
        except Exception as error:
            first = error
    raise RunError(f"{file} can't be opened: {one_line(first)[:400]}") from first


def weight_names(model: keras.Model) -> list[str]:
    """What a `.safetensors` file calls a Keras model's variables: "0003.conv/kernel", in their order."""
    return [f"{i:04d}.{variable.path}" for i, variable in enumerate(model.variables)]


def with_weights(file: Path, facts: SavedFacts, plugins: tuple[Path, ...] = ()) -> keras.Model | None:
    """A Keras model, built anew, with the weights of a `.safetensors` file; None where it is a torch module's.

    Raises:
        ValueError: when the file holds other weights.
    """
    from safetensors.numpy import load_file

    from kdrecipes.torch_modules import module_of

    model = built_again(facts, plugins)
    if module_of(model) is not None:
        return None
    arrays = {name.partition(".")[0]: array for name, array in load_file(str(file)).items()}  # names may differ
    numbers = [name.partition(".")[0] for name in weight_names(model)]
    if sorted(arrays) != numbers:
        raise ValueError(f"it holds {len(arrays)} arrays, and the network has {len(numbers)} variables")
    for number, variable in zip(numbers, model.variables, strict=True):
        variable.assign(arrays[number])
    return model


def built_again(facts: SavedFacts, plugins: tuple[Path, ...] = ()) -> keras.Model:
    """A network of a file's component, with weights of its own.

    Weights that it would begin with, from a file or a download, are left out where the component's builder knows how:
    its attribute `without_weights` gives the options of the same network without them.

    Raises:
        UsageError: when no plugin provides the component.
    """
    import torch

    from kdrecipes.backend import keras
    from kdrecipes.torch_modules import as_keras

    registry, classes = load_registry(plugins), len(facts.classes)
    component = registry.get("model", facts.component)
    if component is None:
        raise UsageError(
            f"{unknown_component(registry, 'model', facts.component)} The file holds the weights of one; name a plugin "
            "that is a single file with `plugins=`."
        )
    declared = component.options.get("properties", {})
    passed = {"classes": classes, "image_size": facts.image_size}
    without_weights = getattr(component.build, "without_weights", None)
    options = facts.options if without_weights is None else without_weights(**facts.options)
    model = component.build(**options | {key: value for key, value in passed.items() if key in declared})
    if isinstance(model, torch.nn.Module) and not isinstance(model, keras.layers.Layer):
        return as_keras(model, classes, facts.image_size)
    return model


def logits_of(model: keras.Model) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """From pixels (batch, height, width, 3), 0–255, to logits, float32 (batch, classes), in inference mode."""

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        import numpy as np
        import torch

        from kdrecipes.backend import keras

        with torch.no_grad():
            logits = model(keras.ops.convert_to_tensor(images.astype(np.float32)), training=False)
        return np.asarray(keras.ops.convert_to_numpy(logits), np.float32)

    return predict
