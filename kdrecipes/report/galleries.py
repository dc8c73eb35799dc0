"""What the page shows of images: each as a PNG inside the page, with what it is and what the networks said of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrecipes.report.facts import Facts
from kdrecipes.report.figures import log_softmax
from kdrecipes.report.pictures import LARGEST_SIDE, Group, Pictures, stored_side

WHO = {"teacher": "teacher", "baseline": "labels only", "kd": "distilled"}
_SMOOTHED_FROM = 64  # pixels per side; of a smaller image the page shows each pixel as a square
_LEAST_SHARE = 0.005  # of a label in a mixture that is told


def png(image: NDArray[Any]) -> bytes:
    """An image (height, width, 3) as a PNG, of one channel where all three are the same; the same bytes each time."""
    from PIL import Image

    gray = bool((image == image[..., :1]).all())
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image[..., 0] if gray else image)).save(file, "PNG", optimize=True)
    return file.getvalue()


def galleries(pictures: Pictures, facts: Facts) -> dict[str, Any]:
    """What the template shows of test images, `groups` by name, and of training images, `views`.

    `who` names the networks that are compared, by role; `seed` is their students'; `sizes` says how many pixels per
    side each network saw. The page shows larger images at `largest`.
    """
    logits = {role: facts.logits[key] for role, key in pictures.networks.items()}
    together = {"teacher": "teachers"} if len(facts.teachers) > 1 else {}
    ids = [f"teacher {name}" if together else "teacher" for name in facts.teachers]
    sizes = dict(zip(["student", *ids], pictures.sizes, strict=True))
    return {
        "who": {role: (WHO | together)[role] for role in logits},
        "seed": next((facts.arms[key].seed for key in pictures.networks.values() if key in facts.arms), None),
        "groups": {name: _group(group, logits, facts) for name, group in pictures.groups.items()},
        "views": _views(pictures, sizes, facts.dataset.classes),
        "sizes": sizes,
        "largest": LARGEST_SIDE,
    }


def _group(group: Group, logits: Mapping[str, NDArray[Any]], facts: Facts) -> dict[str, Any]:
    classes, pictures = facts.dataset.classes, []
    for position, image, name in zip(group.positions, group.images, group.called, strict=True):
        label = int(facts.labels[position])
        said = []
        for role, values in logits.items():
            named = int(values[position].argmax())
            share = _percent(float(np.exp(log_softmax(values[position : position + 1])[0, named])))
            said.append({"role": role, "named": classes[named], "share": share, "right": named == label})
        pictures.append(
            {**embedded(image), "called": name, "file": name.rpartition("/")[2], "label": classes[label], "said": said}
        )
    return {"total": group.total, "pictures": pictures}


def _views(pictures: Pictures, sizes: Mapping[str, int], classes: list[str]) -> list[dict[str, Any]]:
    """Each training example: what its label says, and an image for each size at which the page shows it."""
    whose: dict[int, list[str]] = {}
    for name, size in sizes.items():
        whose.setdefault(stored_side(size), []).append(name)
    return [
        {
            "label": _label(row, classes),
            "seen": [
                {**embedded(pictures.views[side][place]), "by": ", ".join(names)} for side, names in whose.items()
            ],
        }
        for place, row in enumerate(pictures.view_labels)
    ]


def _label(row: NDArray[Any], classes: list[str]) -> str:
    """`"cat"`, of mixed examples `"61 % cat, 39 % dog"`, or `"no label"`."""
    told = [int(i) for i in np.argsort(-row, kind="stable") if row[i] > _LEAST_SHARE]
    if len(told) == 1 and row[told[0]] > 1 - _LEAST_SHARE:
        return classes[told[0]]
    return ", ".join(f"{_percent(float(row[i]))} {classes[i]}" for i in told) or "no label"


def _percent(share: float) -> str:
    """A probability in whole percent; 100 is said only of what rounds to it by far."""
    return ">99\u00a0%" if 0.995 <= share < 0.9999 else f"{100 * share:.0f}\u00a0%"


def embedded(image: NDArray[Any]) -> dict[str, Any]:
    """What a template shows of an image, uint8 (side, side, 3): `src`, its `side`, and whether pixels are `squares`."""
    data = base64.b64encode(png(image)).decode("ascii")
    return {"src": f"data:image/png;base64,{data}", "side": len(image), "squares": len(image) < _SMOOTHED_FROM}
