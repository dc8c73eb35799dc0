"""Pages out of the files of the folder `page`: self-contained, with one style and one script, text escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

from markupsafe import Markup

from kdrecipes.report.drawing import in_page
from kdrecipes.wording import about_points, escaped, nats, points, readable_seconds


def filled(template: str, *styles: str, **given: Any) -> str:
    """A whole page.

    Args:
        template: a file of the folder `page`, which extends `frame.html.jinja`.
        styles: style sheets of that folder beside style.css.
        given: what the template is given. Text from outside is escaped by the template, all of it.
    """
    import jinja2

    script = f"\n{_part('sort.js')}"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "svg": in_page,
        "percent": lambda share: f"{100 * share:.2f}",
        "points": points,
        "about_points": about_points,
        "nats": nats,
        "duration": readable_seconds,
    }
    page = environment.get_template(template).render(
        style=Markup("".join(map(_part, ("style.css", *styles)))),
        script=Markup(script.lstrip()),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **given,
    )
    return escaped(page)  # names of files may hold what no text can


def _part(name: str) -> str:
    """A file of the folder page: a section of a page, its style, or the page around them."""
    return (resources.files("kdrecipes.report") / "page" / name).read_text(encoding="utf-8")
