"""What a term that compares the images of a batch with each other needs: more than one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def refuse_one_image(name: str, values: torch.Tensor) -> None:
    """Refuse a batch of one image.

    Args:
        name: the term's, for the message.
        values: (batch, …), of any of the networks.

    Raises:
        ValueError: when the batch is one image.
    """
    if len(values) < 2:
        raise ValueError(
            f"`{name}` compares the images of a batch: it needs at least 2. Received: {len(values)}. Raise the batch "
            "size, or leave the last, smaller batch out."
        )
