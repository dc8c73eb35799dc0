"""Which packages a plain installation leaves out, which extra brings each, and what is said where one is missing.

A plain `pip install kdrecipes` checks and lists recipes. Training and reports need the extra `run`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from kdrecipes.errors import MissingPart

# The module that is imported → the distribution that brings it, for each extra of pyproject.toml.
EVERY_RUN = {
    "keras": "keras",
    "matplotlib": "matplotlib",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "torch": "torch",
}
SOME_RUNS = {
    "PIL": "pillow",
    "array_record": "tensorflow-datasets",
    "requests": "tensorflow-datasets",
    "safetensors": "safetensors",
    "tensorflow_datasets": "tensorflow-datasets",
}
EXTRAS = {
    "run": EVERY_RUN | SOME_RUNS,
    "hub": {"keras_hub": "keras-hub"},
    "onnx": {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"},
    "openvino": {"openvino": "openvino"},
    "litert": {"litert_torch": "litert-torch", "ai_edge_litert": "ai-edge-litert"},
    "tensorboard": {"tensorboard": "tensorboard"},
    "wandb": {"wandb": "wandb"},
    "mlflow": {"mlflow": "mlflow-skinny"},
    "optuna": {"optuna": "optuna"},
    "parquet": {"pyarrow": "pyarrow"},
}


def need_run(what: str) -> None:
    """Refuse to begin what needs the extra `run`, before hours of it are done, where a part of it is missing.

    Args:
        what: what needs it, such as "`kdrecipes run`"; the message begins with it.

    Raises:
        MissingPart: naming every missing package that all runs use, and how to install them.
    """
    need(what, EVERY_RUN, "run")


def need(what: str, modules: Iterable[str], extra: str) -> None:
    """Refuse to begin what needs modules that are not installed.

    Args:
        what: as for `need_run`.
        modules: what it imports.
        extra: what brings them: the extra "onnx" of kdrecipes, or of a plugin "kdrecipes-mine[onnx]".

    Raises:
        MissingPart: naming every one that is missing, and how to install them.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise _missing(what, [EXTRAS.get(extra, {}).get(module, module) for module in missing], extra)


@contextmanager
def telling_what_is_missing(what: str) -> Iterator[None]:
    """Turn a missing module of an extra into how to install it; any other missing module stays what it is.

    Args:
        what: as for `need_run`.

    Raises:
        MissingPart: naming the package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        for extra, parts in EXTRAS.items():
            if module in parts:
                raise _missing(what, [parts[module]], extra) from error
        raise


def _missing(what: str, distributions: list[str], extra: str) -> MissingPart:
    """The error for missing distributions of one extra."""
    *first, last = distributions
    named = f"{', '.join(first)} and {last}, which are" if first else f"{last}, which is"
    them = "them" if first else "it"
    line = f"kdrecipes[{extra}]" if extra in EXTRAS else extra
    return MissingPart(f"{what} needs {named} not installed. Install {them}: `pip install '{line}'`")
