"""Pages out of the files of the folder `page`: self-contained, with one style and one script, text escaped."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from kdrecipes.report.drawing import Chart, in_page
from kdrecipes.wording import about_points, escaped, nats, points, readable_seconds

if TYPE_CHECKING:
    import jinja2


def filled(template: str, *styles: str, **given: Any) -> str:
    """A whole page.

    Args:
        template: a file of the folder `page`, which extends `frame.html.jinja`.
        styles: style sheets of that folder beside style.css.
        given: what the template is given. Text from outside is escaped by the template, all of it.
    """
    script = f"\n{_part('sort.js')}"
    page = (
        _environment()
        .get_template(template)
        .render(
            style=Markup("".join(map(_part, ("style.css", *styles)))),
            script=Markup(script.lstrip()),
            script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            **given,
        )
    )
    return escaped(page)  # names of files may hold what no text can


def _drawn(chart: Chart) -> Markup:
    """By the `in_page` of this moment: whoever wants no charts puts another there."""
    return in_page(chart)


@cache
def _environment() -> jinja2.Environment:
    """One for all pages of a process: to compile the templates takes longer than to fill them."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "svg": _drawn,
        "percent": lambda share: f"{100 * share:.2f}",
        "points": points,
        "about_points": about_points,
        "nats": nats,
        "duration": readable_seconds,
    }
    return environment


def _part(name: str) -> str:
    """A file of the folder page: a section of a page, its style, or the page around them."""
    return (resources.files("kdrecipes.report") / "page" / name).read_text(encoding="utf-8")
