"""A network of timm as a torch module from raw pixels to logits."""

from __future__ import annotations

import difflib
from typing import Any

import torch

from kdrecipes import EnvironmentProblem
from kdrecipes_timm.checkpoint import Checkpoint, read, take_arrays
from kdrecipes_timm.names import INSTALL


def classifier(
    classes: int,
    image_size: int,
    model: str,
    pretrained: bool | str = True,
    drop_path: float | None = None,
    drop_rate: float | None = None,
) -> torch.nn.Module:
    """Build a network of timm's that takes raw pixels.

    Its layers and arrays keep timm's names: what is saved of it is a checkpoint of timm's.

    Args:
        classes: width of the logits. A head of another width is replaced by a new one.
        image_size: pixels per side that it will be shown; a network that is made for one size is made for this one.
        model: timm's name, with or without a tag.
        pretrained: true: the published weights; false: random ones; or the path of a `.safetensors` file.
        drop_path: stochastic depth, from 0 to below 1; None: the network's own default.
        drop_rate: dropout before the head, from 0 to below 1; None: the network's own default.

    Returns:
        A module of timm's class, from RGB pixels, float (batch, image_size, image_size, 3) in 0–255, to logits
        (batch, classes).

    Raises:
        EnvironmentProblem: timm is missing or can't be imported, it has no such network, the weights can't be fetched
            or read, are another network's, or the network does not take an option or the image size.
    """
    timm = _timm()
    _check_name(timm, model)
    config = timm.get_pretrained_cfg(model)
    if pretrained is True:
        _check_published(timm, model)
    checkpoint = read(pretrained, model) if isinstance(pretrained, str) else None
    options = {"drop_path_rate": drop_path, "drop_rate": drop_rate}
    options = {name: value for name, value in options.items() if value is not None}
    if config is not None and config.fixed_input_size:
        options["img_size"] = image_size
    built = _created(timm, model, pretrained is True, config, {"num_classes": classes, **options})
    if checkpoint is not None:
        take_arrays(built, checkpoint, model)
    return _from_pixels(built, checkpoint)


def _timm() -> Any:
    """The package timm, which imports torchvision: only a network that is built needs either."""
    try:
        import timm
    except ModuleNotFoundError as error:
        missing = (error.name or "timm").partition(".")[0]
        raise EnvironmentProblem(
            f"The model timm needs {missing}, which is not installed. Install it: `{INSTALL}`"
        ) from error
    except Exception as error:  # a torchvision that was built for another torch raises all kinds
        text = " ".join(str(error).split())[:200]
        raise EnvironmentProblem(
            f"The model timm can't be used here: importing timm failed ({type(error).__name__}: {text}). timm needs a "
            f"torchvision that was built for this torch ({torch.__version__}): install both together, "
            "`pip install --upgrade torch torchvision timm`."
        ) from error
    return timm


def _check_name(timm: Any, model: str) -> None:
    """Refuse a name that timm does not know, and say which it may have meant."""
    name, tagged = model.partition(".")[0], timm.list_models(include_tags=True)
    if model in tagged or timm.list_models(model):
        return
    tags = [one for one in tagged if one.startswith(f"{name}.")]
    if current := timm.models.get_deprecated_models().get(model):
        meant = f"It is called {current!r} now."
    elif tags:
        meant = f"There are {', '.join(tags)}."
    elif near := difflib.get_close_matches(name, timm.list_models(), n=3):
        meant = f"Did you mean {', '.join(map(repr, near))}?"
    else:
        meant = "timm.list_models() names all that it has."
    raise EnvironmentProblem(f"model = {model!r}: timm {timm.__version__} has no network of this name. {meant}")


def _check_published(timm: Any, model: str) -> None:
    """Refuse to look for weights that nobody published."""
    if timm.is_model_pretrained(model):
        return
    tags = timm.list_models(f"{model.partition('.')[0]}.*", pretrained=True)
    others = f" It has some for {', '.join(tags)}." if tags else ""
    raise EnvironmentProblem(
        f"pretrained = true: timm {timm.__version__} has no weights for {model!r}.{others} With pretrained = false the "
        "network begins at random."
    )


def _created(timm: Any, model: str, pretrained: bool, config: Any, options: dict[str, Any]) -> torch.nn.Module:
    """The network as timm makes it; what can go wrong is told in the recipe's words."""
    try:
        return timm.create_model(model, pretrained=pretrained, **options)
    except Exception as error:  # timm, its hub and torch raise all kinds
        text = " ".join(str(error).split())[:300]
        for key, option in (("drop_path", "drop_path_rate"), ("drop_rate", "drop_rate")):
            if isinstance(error, TypeError) and f"'{option}'" in text:
                raise EnvironmentProblem(f"{key}: {model!r} has no such setting. Leave it out.") from error
        size = config.input_size[-1] if config is not None else None
        if options.get("img_size", size) != size:
            raise EnvironmentProblem(
                f"model = {model!r} can't be made for images of {options['img_size']} px ({type(error).__name__}: "
                f"{text}). It was published for {size} px: set image_size = {size} in its table."
            ) from error
        if not pretrained:
            raise
        where = (
            f"https://huggingface.co/{config.hf_hub_id}" if config is not None and config.hf_hub_id else "its source"
        )
        raise EnvironmentProblem(
            f"pretrained = true: the weights of {model!r} could not be fetched from {where} ({type(error).__name__}: "
            f"{text}). Where there is no network: fetch model.safetensors and config.json there elsewhere, put them "
            'into one folder, and name the file, pretrained = "./model.safetensors".'
        ) from error


def _from_pixels(built: Any, checkpoint: Checkpoint | None) -> torch.nn.Module:
    """Let the network take pixels, prepared by mean and deviation of its weights.

    A hook before its forward does it, and no module around it, so that every name in it stays timm's.
    """
    config = built.pretrained_cfg if checkpoint is None else {**built.pretrained_cfg, **checkpoint.config}
    mean, deviation = (torch.tensor(config[key], dtype=torch.float32) for key in ("mean", "std"))
    # Not persistent: they are no weights.
    built.register_buffer("pixel_scale", 1 / (255 * deviation), persistent=False)
    built.register_buffer("pixel_offset", -mean / deviation, persistent=False)
    built.register_forward_pre_hook(_prepare)
    return built


def _prepare(network: Any, arguments: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Pixels, float (batch, height, width, 3) in 0–255, as the network's weights want them, channels first."""
    (pixels,) = arguments
    return (pixels * network.pixel_scale + network.pixel_offset).permute(0, 3, 1, 2)
