"""`check_dataset`: examples of the right form, the same whenever they are asked for, in splits that are disjoint."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from kdrecipes.components.hookspecs import Component
from kdrecipes.data.reader import Reader, source_weights
from kdrecipes.errors import KDRecipesError, RunError
from kdrecipes.hashing import digest
from kdrecipes.testing.contract import broken, check_contract, trying

LOOKED_AT = 256  # examples of a split
COMPARED = 2_000  # examples of the first split, with those of the others
SHARED = 0.05  # of a split's images may be the first one's too: collections hold some pictures twice


def check(component: Component, split: tuple[str, ...], options: Mapping[str, Any]) -> None:
    """See `kdrecipes.testing.check_dataset`."""
    recipe = check_contract(component, "dataset", options)
    passed = recipe.options(recipe.dataset)

    def build(name: str) -> Any:
        with trying(component, f"build(split={name!r})"):
            return component.build(split=name, **passed)

    seen: dict[str, set[str]] = {}
    classes: dict[str, list[str]] = {}
    for name in split:
        source = build(name)
        classes[name] = _check_classes(component, source, name)
        _check_labelled(component, source, name, passed)
        seen[name] = _check_examples(component, source, partial(build, name), name)
    first = split[0]
    count = getattr(component.build, "count_classes", None)
    if count is not None:
        with trying(component, "build.count_classes"):
            counted = count(**passed)
        if counted != len(classes[first]):
            rule = "build.count_classes must give the number of classes that its sources have"
            raise broken(component, rule, f"{counted} and {len(classes[first])}")
    source = build(first) if len(split) > 1 else []
    compared = _spread(len(source), COMPARED)
    known = {_example(component, source, first, i)[0] for i in compared}
    share = len(compared) / max(1, len(source))
    for name in split[1:]:
        if classes[name] != classes[first]:
            rule = f"the splits {first!r} and {name!r} must have the same classes"
            raise broken(component, rule, f"{classes[first][:5]} and {classes[name][:5]}")
        found = len(seen[name] & known)
        if found > max(1, SHARED * share * len(seen[name])):
            rule = f"{name!r} must not hold the images of {first!r}"
            raise broken(component, rule, f"{found} of {len(seen[name])} that are among {len(known)} of it")
    _check_unknown_split(component, partial(component.build, split="no such split", **passed))


def _check_classes(component: Component, source: Any, split: str) -> list[str]:
    names = getattr(source, "classes", None)
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise broken(component, f"{split!r}: `classes` must be a list of names", repr(names)[:80])
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise broken(component, f"{split!r}: the names of `classes` must be unique", f"{twice!r} twice")
    return list(names)


def _check_labelled(component: Component, source: Any, split: str, options: Mapping[str, Any]) -> None:
    """What the builder tells of a split's labels beforehand is what its source says."""
    ask = getattr(component.build, "labelled", None)
    if ask is None:
        return
    with trying(component, "build.labelled"):
        told = ask(split=split, **options)
    if told is not None and told != getattr(source, "labelled", True):
        rule = f"{split!r}: build.labelled must say what `labelled` of the source says, or None"
        raise broken(component, rule, repr(told))


def _check_examples(component: Component, source: Any, again: Callable[[], Any], split: str) -> set[str]:
    """Check some examples; returns what tells their images apart."""
    with trying(component, f"{split!r}: len()"):
        n = len(source)
    if n == 0:
        raise broken(component, f"{split!r}: must hold examples", "none")
    chosen = _spread(n, LOOKED_AT)
    with trying(component, f"{split!r}: reading it as a run does"):
        reader = Reader(source, None, split, 8, "squash")
        for name, reason in (file for i in chosen for file in reader.read(i, i + 1).skipped):
            raise RunError(f"{split}: {name} can't be read ({reason})")
    images = {i: _example(component, source, split, i) for i in chosen}
    with trying(component, f"{split!r}: sending it to another process (pickle)"):
        sent = pickle.loads(pickle.dumps(source))
    for other, how in ((source, "asked twice"), (again(), "built twice"), (sent, "pickled and unpickled")):
        if len(other) != n:
            raise broken(component, f"{split!r}: {how}, it must hold as many examples", f"{n} and {len(other)}")
        for i in reversed(chosen):
            if _example(component, other, split, i) != images[i]:
                rule = f"{split!r}: {how}, an example must be the same; augmentation belongs in dataset.views"
                raise broken(component, rule, f"another example {i}")
    if hasattr(source, "arrays"):
        _check_arrays(component, source, split, images)
    _check_weights(component, (source, again(), sent), split)
    try:
        source[n]
    except IndexError:
        pass
    except Exception as error:
        raise broken(component, f"{split!r}: source[{n}] of {n} must raise an IndexError", repr(error)) from error
    else:
        raise broken(component, f"{split!r}: source[{n}] of {n} must raise an IndexError", "an example")
    return {image for image, _ in images.values()}


def _spread(n: int, most: int) -> list[int]:
    """Positions of up to `most` of n examples, spread over all."""
    return sorted({int(i) for i in np.linspace(0, n - 1, min(n, most))})


def _example(component: Component, source: Any, split: str, i: int) -> tuple[str, int]:
    """What tells an image from others, and its label."""
    with trying(component, f"{split!r}: source[{i}]"):
        example = source[i]
        return _digest(example["image"]), int(example["label"])


def _digest(image: Any) -> str:
    array = np.asarray(image)
    return digest(array.shape, hashlib.sha256(array.tobytes()).hexdigest())


def _check_arrays(component: Component, source: Any, split: str, examples: Mapping[int, tuple[str, int]]) -> None:
    with trying(component, f"{split!r}: arrays()"):
        images, labels = source.arrays()
        same = len(images) == len(labels) == len(source)
        same = same and all((_digest(images[i]), int(labels[i])) == examples[i] for i in examples)
    if not same:
        raise broken(component, f"{split!r}: arrays() must give the images and labels that its items give")


def _check_weights(component: Component, alike: Sequence[Any], split: str) -> None:
    """What several sources of one split say of how much each example counts."""
    with trying(component, f"{split!r}: reading its weights"):
        told = [source_weights(one, split) for one in alike]
    if len({None if weights is None else weights.tobytes() for weights in told}) > 1:
        raise broken(component, f"{split!r}: built twice, or pickled, an example must have the same weight")


def _check_unknown_split(component: Component, build: Callable[[], Any]) -> None:
    try:
        build()
    except KDRecipesError:
        return
    except Exception as error:
        rule = "a split that is not there must be refused by a kdrecipes.RunError that names the splits there are"
        raise broken(component, rule, repr(error)) from error
    raise broken(component, "a split that is not there must be refused", "a source for 'no such split'")
