"""Whether a component's `build` can be called with what its options declare; what is wrong is told to its author."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from kdrecipes.components.contract import PASSED_BY_RUN
from kdrecipes.components.hookspecs import Component
from kdrecipes.wording import nearest

_TYPE_OF = {"classes": "integer", "image_size": "integer", "examples": "integer", "seed": "integer"}
_KEYWORDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def call_problem(component: Component, names: Iterable[str]) -> str:
    """Why `build` can't be called with keyword arguments of these names, and how to mend it; empty where it can.

    A callable that does not tell its parameters, as some of C do, is let pass.

    Args:
        component: valid, see `contract.check_component`.
        names: of the options that the recipe gives, of those with a default, and of what the run passes.
    """
    try:
        parameters = inspect.signature(component.build).parameters
    except (TypeError, ValueError):
        return ""
    given = set(names)
    taken = {name for name, parameter in parameters.items() if parameter.kind in _KEYWORDS}
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unexpected = [] if takes_all else sorted(given - taken)
    problems = []
    for name, parameter in parameters.items():
        needed = parameter.default is parameter.empty
        if parameter.kind is parameter.POSITIONAL_ONLY and needed:
            problems.append(f"build must take {name!r} by keyword")
            unexpected = [other for other in unexpected if other != name]
        elif parameter.kind in _KEYWORDS and needed and name not in given:
            if near := nearest(name, unexpected):
                problems.append(f"build takes {name!r}, and its options declare {near!r}: call both the same")
                unexpected.remove(near)
            else:
                problems.append(missing_argument(component, name))
    return "; ".join([*problems, *map(unexpected_argument, unexpected)])


def missing_argument(component: Component, name: str) -> str:
    """What to say of an argument that `build` needs and is not given."""
    if name in component.options.get("properties", {}):
        return f"build needs {name!r}, which a recipe may leave out: give it a default, or name it in `required`"
    text = f"build needs {name!r}, which its options do not declare"
    if name in PASSED_BY_RUN[component.kind]:
        declared = f'"{name}": {{"type": "{_TYPE_OF.get(name, "string")}"}}'
        return f"{text}: the run passes it where their `properties` hold {declared}"
    return f"{text}: add it to their `properties`, or give it a default in build"


def unexpected_argument(name: str) -> str:
    """What to say of an argument that `build` is given and does not take."""
    return f"build takes no {name!r}, which its options declare: add that parameter, or take the option out"
