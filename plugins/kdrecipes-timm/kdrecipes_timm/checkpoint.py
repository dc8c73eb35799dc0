"""The arrays of a `.safetensors` file in a network of timm's: all of them fit, or the first that does not is named."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kdrecipes import EnvironmentProblem

_LARGEST = 1 << 20  # bytes that are read of a config.json


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        file: as the recipe names it.
        arrays: by timm's names.
        config: what a config.json of timm's beside it says of pixels: "mean" and "std"; empty where there is none.
        architecture: the network that the file or its config.json names; empty where neither does.
    """

    file: str
    arrays: dict[str, torch.Tensor]
    config: dict[str, Any]
    architecture: str


def read(file: str, model: str) -> Checkpoint:
    """Read a `.safetensors` file, and the config.json that timm puts beside its `model.safetensors`.

    Args:
        file: its path.
        model: timm's name of the network that it is for.

    Raises:
        EnvironmentProblem: it is missing, of another kind or damaged, or says itself that it is another network's.
    """
    path = Path(file)
    if path.suffix != ".safetensors" or not path.is_file():
        what = "there is no such file" if path.suffix == ".safetensors" else "weights are read from .safetensors alone"
        raise EnvironmentProblem(f"pretrained = {file!r}: {what}.")
    from safetensors import safe_open

    try:
        with safe_open(file, "pt") as opened:
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  it is no dict
            told = opened.metadata() or {}
        config = _config_beside(path)
    except Exception as error:  # safetensors has errors of its own
        text = " ".join(str(error).split())[:200]
        raise EnvironmentProblem(f"pretrained = {file!r} can't be read ({type(error).__name__}: {text}).") from error
    pixels = {key: config["pretrained_cfg"][key] for key in ("mean", "std")} if config else {}
    return Checkpoint(file, arrays, pixels, config.get("architecture", "") or _told_by_a_run(told))


def _config_beside(path: Path) -> dict[str, Any]:
    """What timm's config.json beside a model.safetensors says; empty where there is none of timm's."""
    other = path.with_name("config.json")
    if path.name != "model.safetensors" or not other.is_file() or other.stat().st_size > _LARGEST:
        return {}
    config = json.loads(other.read_text(encoding="utf-8"))
    return config if "architecture" in config and "pretrained_cfg" in config else {}


def _told_by_a_run(metadata: dict[str, str]) -> str:
    """timm's name of the network, where a run of kdrecipes saved the file."""
    facts = json.loads(metadata.get("kdrecipes", "{}"))
    return str(facts.get("options", {}).get("model", "")) if facts.get("component") == "timm" else ""


def take_arrays(network: Any, checkpoint: Checkpoint, model: str) -> None:
    """Give a network the arrays of a file; its head keeps its own values where the file's is of another width.

    Args:
        network: of timm's.
        checkpoint: from `read`.
        model: timm's name of the network.

    Raises:
        EnvironmentProblem: names the first array that does not fit.
    """
    arrays = _for_its_size(network, checkpoint.arrays, model)
    wanted = network.state_dict()
    head = _head(network)
    new_head = any(name in arrays and arrays[name].shape != wanted[name].shape for name in head)
    arrays = {name: array for name, array in arrays.items() if not (new_head and name in head)}
    problems = list(_problems(arrays, {name: a for name, a in wanted.items() if not (new_head and name in head)}))
    if problems:
        more = f" {len(problems) - 1} more do not fit." if len(problems) > 1 else ""
        named = checkpoint.architecture.partition(".")[0]
        is_other = named not in ("", model.partition(".")[0])
        told = f" It says that it is of {checkpoint.architecture!r}." if is_other else ""
        raise EnvironmentProblem(
            f"pretrained = {checkpoint.file!r} holds weights of another network than {model!r}: {problems[0]}."
            f"{more}{told}"
        )
    network.load_state_dict(wanted | arrays)


def _problems(arrays: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> Iterator[str]:
    """What does not fit, in the network's order, then in the file's."""
    for name, array in wanted.items():
        if name not in arrays:
            if not name.endswith(".num_batches_tracked"):  # a counter that no forward pass reads
                yield f"the file has no array {name!r}"
        elif arrays[name].shape != array.shape:
            shapes = f"{tuple(arrays[name].shape)} in the file and {tuple(array.shape)} in the network"
            yield f"the array {name!r} is {shapes}"
    for name in arrays:
        if name not in wanted and not name.endswith(".num_batches_tracked"):
            yield f"the network has no array {name!r}"


def _head(network: Any) -> list[str]:
    """The names of the arrays whose width is the number of classes."""
    parts = network.pretrained_cfg.get("classifier") or ()
    names = [
        f"{part}.{kind}" for part in ((parts,) if isinstance(parts, str) else parts) for kind in ("weight", "bias")
    ]
    return [name for name in names if name in network.state_dict()]


def _for_its_size(network: Any, arrays: dict[str, torch.Tensor], model: str) -> dict[str, torch.Tensor]:
    """The arrays as timm's own function for this family reads them: it fits positions to another image size."""
    import timm

    module = sys.modules[timm.model_entrypoint(model).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return arrays
    try:
        return dict(convert(dict(arrays), network))
    except Exception:  # of another network's arrays it raises all kinds; as they are they tell which does not fit
        return arrays
