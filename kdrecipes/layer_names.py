"""Which layer a name means among the paths of a network's layers, and what is said where it means none or several."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from kdrecipes.wording import nearest

_SHOWN = 5  # paths in one message
_LISTED = 12  # where none is like the one that was meant


def layer_named(name: str, paths: Mapping[str, Any], owner: str, among: str = "") -> Any:
    """The layer at a path, the only one of that name at any depth, or the only one whose path a glob matches.

    Args:
        name: a path; its end, from a slash on; or a glob such as `"backbone/*/conv_1"`, where `*` stands for any text,
            slashes too, `?` for one character and `[12]` for one of these. Dots may stand for slashes.
        paths: the layers by their paths; one layer may have several.
        owner: whose layers they are, as a message begins.
        among: where else none is found, after "has no layer …", such as " in its graph".

    Raises:
        ValueError: when there is none, or several; the message names the nearest, or the several.
    """
    texts = dict.fromkeys([name, name.replace(".", "/")])
    for text in texts:
        if text in paths:
            return paths[text]
    is_glob = any(mark in name for mark in "*?[")
    chosen = [
        path
        for path in paths
        if any(fnmatchcase(path, text) if is_glob else path.endswith("/" + text) for text in texts)
    ]
    different = {id(paths[path]): path for path in reversed(chosen)}  # one at two places is one: its first path
    if len(different) == 1:
        return paths[next(iter(different.values()))]
    if different:
        several = list(reversed(different.values()))
        more = f" and {len(several) - _SHOWN} more" if len(several) > _SHOWN else ""
        shown = ", ".join(several[:_SHOWN]) + more
        if is_glob:
            raise ValueError(f"{owner} has several layers that {name!r} matches: {shown}. Say it so that one does.")
        raise ValueError(f"{owner} has several layers called {name!r}: {shown}. Give the whole path.")
    raise ValueError(f"{owner} has no layer {name!r}{among}. {_nearest_layer(list(texts)[-1], paths)}")


def _nearest_layer(path: str, paths: Mapping[str, Any]) -> str:
    """What may have been meant by a path that is none."""
    bare = {ending.rsplit("/", 1)[-1]: ending for ending in reversed(list(paths))}
    path = re.sub(r"[*?]|\[[^]]*\]", "", path).strip("/")  # a glob's own text
    near = nearest(path, paths) or bare.get(nearest(path, bare), "")
    end = path.rsplit("/", 1)[-1]
    near = near or min((one for one in paths if len(end) > 2 and end in one), key=len, default="")
    if near:
        return f"Did you mean {near!r}?"
    return f"It has: {', '.join(list(paths)[:_LISTED])}{' …' if len(paths) > _LISTED else ''}"
