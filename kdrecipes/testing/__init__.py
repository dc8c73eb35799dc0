"""Contract checks for authors of plugins: `check_model`, `check_dataset`, `check_loss`, `check_callback`,
`check_exporter`.

Each takes a component and the options of a recipe, and raises an AssertionError that names the component, the rule and
what was received. Of every component they check that it can be registered; that its options are described, have
defaults that fit and are what `build` takes; that the options given fit; and that loading its plugin imports neither
torch nor keras nor tensorflow nor jax. What else they check is said with each.

Import the five checks from here; `contract` and a module for each kind hold their rules. It may import `runs` and the
rooms below. Its neighbours: `components` says what a component is, `runs` builds it; no room imports `testing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdrecipes.components.hookspecs import Component
from kdrecipes.extras import need_run

__all__ = ["check_callback", "check_dataset", "check_exporter", "check_loss", "check_model"]

need_run("kdrecipes.testing")


def check_model(
    component: Component,
    /,
    *,
    image_size: int | Sequence[int] = (32, 48),
    classes: int | Sequence[int] = (3, 10),
    **options: Any,
) -> None:
    """Check a model component: built for each size and number of classes, asked for logits, trained, kept and reread.

    It goes from RGB pixels, float 0–255, (batch, size, size, 3), to finite logits (batch, classes), for one image and
    for several, black and white ones too; in inference an image's logits do not depend on the others; no softmax at its
    end; every trainable variable gets a gradient; one seed gives the same weights twice; a `keras.Model` is saved as
    `.keras`, opened in safe mode and says the same, a `torch.nn.Module` through its `state_dict`.

    Args:
        component: as `kdrecipes.component("model", name)` gives it, or the plugin's own object.
        image_size: pixels per side to build it for, in turn. Default (32, 48).
        classes: numbers of classes to build it for, in turn. Default (3, 10).
        **options: as in a recipe.

    Raises:
        AssertionError: naming the component, the rule and what was received.

    Example:
        ```python
        check_model(kdrecipes.component("model", "example_cnn"), width=4)
        ```
    """
    from kdrecipes.testing.models import check

    check(component, _several("image_size", image_size), _several("classes", classes), options)


def check_dataset(component: Component, /, *, split: str | Sequence[str] = ("train", "test"), **options: Any) -> None:
    """Check a dataset component: the examples of each split, read twice, built twice and sent to another process.

    A source has a length; `source[i]` is `{"image": uint8 (height, width, channels), "label": int}` with a label in the
    range of its `classes`, unique strings that all splits share; it is the same whenever it is asked, which no
    augmentation is; an index past the end is an IndexError; it can be pickled; a split that is not there is refused;
    the other splits hold no images of the first. Up to 256 examples of a split are looked at, and up to 2,000 of the
    first are compared with those of the others.

    Args:
        component: as `kdrecipes.component("dataset", name)` gives it, or the plugin's own object.
        split: names of its splits. Default ("train", "test").
        **options: as in a recipe.

    Raises:
        AssertionError: naming the component, the rule and what was received.

    Example:
        ```python
        check_dataset(kdrecipes.component("dataset", "example_shapes"), size=16)
        ```
    """
    from kdrecipes.testing.datasets import check

    check(component, _several("split", split), options)


def check_loss(component: Component, /, *, classes: int = 5, examples: int = 64, **options: Any) -> None:
    """Check a loss component: its term's values, dtypes and gradients on made-up logits and features.

    A term gives (batch,) values, or a scalar; float64 for float64, and the same value for float32; finite values and
    gradients, also for logits of ±10,000, for a student that agrees with its teacher and for equal images; a gradient
    for the student; it changes nothing that it is given. A term that declares layers reads them. The value of an
    example does not depend on the others, unless the term says `relational = True`. Labels of mixed examples are
    understood, unless it says `mixed_labels = False`. It is no loss on the labels alone, unless it says
    `hears_teacher = False`; then no teacher changes its value.

    Args:
        component: as `kdrecipes.component("loss", name)` gives it, or the plugin's own object.
        classes: number of classes. Default 5.
        examples: number of training examples that the term is told. Default 64.
        **options: as in a recipe, `student_layers`, `teacher_layers` and `projector` among them. Features of layers are
            (8, 4, 4, 6).

    Raises:
        AssertionError: naming the component, the rule and what was received.

    Example:
        ```python
        check_loss(kdrecipes.component("loss", "hint"), student_layers=["a"], teacher_layers=["b"])
        ```
    """
    from kdrecipes.testing.losses import check

    check(component, classes, examples, options)


def check_callback(component: Component, /, **options: Any) -> None:
    """Check a callback component: attached to a small fit of each arm in a folder of its own.

    It is a `keras.callbacks.Callback`, takes `folder`, `arm` and `seed` where it declares them, outlives a fit of six
    epochs with validation that gets worse, and leaves the student's weights as they are without it: the recipe's
    fingerprint does not hold callbacks. A tracker (`build.tracker = True`) outlives a run that stops, and its
    continuation to the end.

    Args:
        component: as `kdrecipes.component("callback", name)` gives it, or the plugin's own object.
        **options: as in a recipe.

    Raises:
        AssertionError: naming the component, the rule and what was received.

    Example:
        ```python
        check_callback(kdrecipes.component("callback", "csv_log"))
        ```
    """
    from kdrecipes.testing.callbacks import check

    check(component, options)


def check_exporter(component: Component, /, **options: Any) -> None:
    """Check an exporter component: a small network written, read again, and asked as the network is.

    What `build` gives has `suffix`, which begins with a dot, `extra`, `to_write` and `to_read`, `export` and `load`.
    `export` writes one file of that suffix for a Keras model with batch normalisation, and leaves the model as it is.
    `load` gives back the model's logits, float32 (batch, classes), for batches of 1, 3 and 8 images, pixels from 0 to
    255, and where the plugin is installed in another process too. They may differ where its attribute `exact` is False.

    Args:
        component: as `kdrecipes.component("exporter", name)` gives it, or the plugin's own object.
        **options: of the exporter.

    Raises:
        AssertionError: naming the component, the rule and what was received.

    Example:
        ```python
        check_exporter(kdrecipes.component("exporter", "torch"), input="uint8")
        ```
    """
    from kdrecipes.testing.exporters import check

    check(component, options)


def _several(name: str, given: Any) -> tuple[Any, ...]:
    """One value or several, as a tuple."""
    several = (given,) if isinstance(given, int | str) else tuple(given)
    if not several:
        raise AssertionError(f"{name}: give one at least. Received: {given!r}")
    return several
