"""`example_shapes`: discs, squares and crosses on noise, drawn when they are asked for."""

from kdrecipes import Component, RunError

EXAMPLES = {"train": 600, "test": 300}


class Shapes:
    """A source: `len(source)`, `source[i]` and `classes` are all that it needs."""

    classes = ("disc", "square", "cross")

    def __init__(self, split: str, size: int):
        self.split, self.size = split, size

    def __len__(self) -> int:
        return EXAMPLES[self.split]

    def __getitem__(self, index: int) -> dict:
        """Example `index`: `image` uint8 (size, size, 3) and `label`, an int. The same whenever it is asked for."""
        import numpy as np

        if not 0 <= index < len(self):
            raise IndexError(index)
        draw = np.random.default_rng([list(EXAMPLES).index(self.split), index])
        label = index % len(self.classes)
        radius = draw.uniform(0.2, 0.35) * self.size
        middle_y, middle_x = draw.uniform(radius, self.size - radius, 2)
        y, x = np.ogrid[: self.size, : self.size]
        y, x = abs(y - middle_y), abs(x - middle_x)
        inside = (
            np.hypot(y, x) < radius,
            np.maximum(y, x) < radius,
            (np.minimum(y, x) < radius / 3) & (np.maximum(y, x) < radius),
        )[label]
        image = draw.integers(0, 50, (self.size, self.size, 3))
        image[inside] += draw.integers(100, 206, 3)
        return {"image": image.astype(np.uint8), "label": label}


def build(split: str = "train", size: int = 32) -> Shapes:
    """The source of one split."""
    if split not in EXAMPLES:
        raise RunError(f"the dataset has no split {split!r}; it has {', '.join(EXAMPLES)}")
    return Shapes(split, size)


COMPONENT = Component(
    kind="dataset",
    name="example_shapes",
    build=build,
    summary="discs, squares and crosses on noise; no download",
    options={
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "split": {"type": "string"},  # the run passes it
            "size": {"type": "integer", "minimum": 8, "default": 32, "description": "Pixels per side."},
        },
    },
)
