"""The distillation terms as Markdown, from what each declares: those on logits, and a term's paper with its options."""

from __future__ import annotations

import re
from typing import Any

from schema_tables import code, keys, prose, table

from kdrecipes import losses
from kdrecipes.components.contract import recipe_options
from kdrecipes.components.losses import TERMS


def classes() -> dict[str, Any]:
    """The class of each built-in term, by the name that a recipe gives it, in the order of `TERMS`."""
    terms = [getattr(losses, name) for name in TERMS.values()]
    return {term.component.name: term for term in terms}


def on_logits() -> str:
    """A table of the built-in terms that read no layers: name, what it is, options with defaults, paper."""
    terms = {name: term for name, term in classes().items() if not hasattr(term, "student_layers")}
    rows = [[code(name), prose(term.component.summary), _options(term), _paper(term)] for name, term in terms.items()]
    return table(["`name`", "what it is", "options (default)", "paper"], rows)


def details(term: Any) -> str:
    """Where a term's formula comes from, and its options."""
    component = term.component
    rows = keys(recipe_options(component), component.options)
    said = [f"{prose(term.paper)}."]
    return "\n\n".join([*said, table(["option", "type", "default", ""], rows)] if rows else said)


def _options(term: Any) -> str:
    own = recipe_options(term.component)["properties"].items()
    return ", ".join(f"{code(name)} ({_default(part['default'])})" for name, part in own)


def _default(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_default, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _paper(term: Any) -> str:
    """Who and where, with a link: "Zhao et al., [arXiv:2203.08679](…)"."""
    who = term.paper.split(", ")[0]
    found = re.search(r"arXiv:(\d{4}\.\d{4,5})", term.paper)
    return f"{prose(who)}, [{found[0]}](https://arxiv.org/abs/{found[1]})" if found else prose(who)
