"""Which classifiers the installed Keras has in `keras.applications`, read from its source: Keras is not imported.

Importing Keras takes seconds, and checking or listing recipes imports neither it nor torch.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

_LEAST_SIZE = 32  # of a family whose source names no other
_DROPOUT = ("dropout", "dropout_rate")


class Classifier(NamedTuple):
    """What a recipe has to know of one classifier before it is built.

    Attributes:
        family: the module of `keras.applications` that has its `preprocess_input`, "convnext".
        options: those of "alpha" and "dropout" that it has, sorted.
        dropout: what Keras calls the rate; empty where its function takes none.
        least_size: the fewest pixels per side.
        alphas: those with ImageNet weights; empty where it has no alpha.
        on_torch: whether Keras builds it on torch.
        fixed_size: pixels per side that its ImageNet weights are for alone, since dense layers read its maps; or None.
    """

    family: str
    options: tuple[str, ...]
    dropout: str
    least_size: int
    alphas: tuple[float, ...]
    on_torch: bool
    fixed_size: int | None


@cache
def families() -> dict[str, str]:
    """The family of each classifier by its name, in Keras' order; empty where Keras is not installed."""
    source = _text("applications/__init__.py")
    imports = (node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom) and node.module)
    return {
        alias.asname or alias.name: (node.module or "").rpartition(".")[2]
        for node in imports
        for alias in node.names
        if alias.name[:1].isupper()
    }


@cache
def classifier(name: str) -> Classifier:
    """What the source of a classifier says of it; `name` is one of `families`."""
    family = families()[name]
    source = _text(f"src/applications/{family}.py")
    function = next(node for node in _functions(family) if node.name == name)
    taken = {argument.arg for argument in function.args.args}
    dropout = next((one for one in _DROPOUT if one in taken), "")
    has_dropout = bool(dropout) or '"top_dropout"' in source
    alphas = re.search(r"alpha not in \[([\d., ]+)\]", source) if "alpha" in taken else None
    least = re.search(r"\bmin_size=(\d+)", source)
    default = re.search(r"\bdefault_size=(\d+)", source)
    return Classifier(
        family,
        tuple(sorted({"alpha"} & taken | ({"dropout"} if has_dropout else set()))),
        dropout,
        int(least[1]) if least else _LEAST_SIZE,
        tuple(map(float, alphas[1].split(","))) if alphas else (),
        'backend() == "torch"' not in "".join(source.splitlines()[function.lineno : function.end_lineno]),
        int(default[1]) if default and '"flatten"' in source else None,
    )


@cache
def _functions(family: str) -> list[ast.FunctionDef]:
    body = ast.parse(_text(f"src/applications/{family}.py")).body
    return [node for node in body if isinstance(node, ast.FunctionDef)]


@cache
def _text(path: str) -> str:
    """A file of Keras' source, below its package; empty where it is not there."""
    spec = importlib.util.find_spec("keras")
    for root in (spec.submodule_search_locations if spec else None) or ():
        if (file := Path(root, path)).is_file():
            return file.read_text(encoding="utf-8")
    return ""
