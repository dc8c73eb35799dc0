"""How a batch mixes images with labels and images without: pure functions of counts."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_SHARE = 0.25  # of a batch that has labels, where the recipe does not say


@dataclass(frozen=True)
class Mixture:
    """What the batches of a fit hold.

    Attributes:
        labelled, unlabelled: images with and without labels in a batch.
        steps: batches in an epoch.
    """

    labelled: int
    unlabelled: int
    steps: int


def mixture(labelled: int, unlabelled: int, batch_size: int, share: float | None = None) -> Mixture:
    """The batches of a student that learns from both kinds of images.

    An epoch passes over all images: over the kind that takes longer once, over the other as often as that takes.

    Args:
        labelled, unlabelled: images of each kind; at least 1 with labels.
        batch_size: images in a batch; at least 2 where there are both kinds.
        share: of a batch that has labels, above 0 and below 1. Default: a quarter, or the share of all images that
            have labels where that is more.
    """
    if not unlabelled:
        return Mixture(batch_size, 0, labelled // batch_size)
    share = max(LEAST_SHARE, labelled / (labelled + unlabelled)) if share is None else share
    own = min(max(1, round(share * batch_size)), batch_size - 1)
    rest = batch_size - own
    return Mixture(own, rest, max(labelled // own, unlabelled // rest, 1))


def count_passes(examples: int, take: int, batches: int) -> int:
    """Passes over some examples that are begun in so many batches, which take `take` of them each.

    A pass leaves out what fills no whole batch, as an epoch does; a batch that takes more than a pass leaves out none.
    """
    whole = examples // take
    return -(-batches // whole) if whole else -(-batches * take // examples)
