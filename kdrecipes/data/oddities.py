"""What is odd about prepared data and stops nothing: told on the terminal and in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kdrecipes.data.store import Store
from kdrecipes.recipe.tables import Recipe

_NAMED = 3  # images or classes named; the others are counted


def oddities(recipe: Recipe, stores: Mapping[str, Store]) -> Iterator[str]:
    """A sentence for each thing that is odd.

    Args:
        recipe: the recipe.
        stores: by base split.
    """
    yield from _uniform(recipe, stores)


def named(names: Sequence[str]) -> str:
    """The first names, and how many more there are: `a, b, c and 4 more`."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _uniform(recipe: Recipe, stores: Mapping[str, Store]) -> Iterator[str]:
    """Drawings that have the background's colour."""
    for name, store in stores.items():
        if store.uniform:
            on = f"dataset.background = {recipe.dataset.background!r}"
            yield (
                f"{len(store.uniform):,} of the {len(store):,} images of {name} have transparent pixels and show "
                f"nothing but one colour on {on}: {named(store.uniform)}. Choose another background, on which their "
                "drawings can be seen."
            )
