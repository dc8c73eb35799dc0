"""`example_torch`: the same in torch."""

from kdrecipes import Component


def build(classes: int, width: int = 16):
    """From pixels, float 0–255, (batch, height, width, 3), to logits (batch, classes)."""
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(2 * width),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(2 * width, classes),
            )

        def forward(self, pixels):
            return self.layers((pixels / 127.5 - 1).permute(0, 3, 1, 2))  # channels last, as everywhere

    return Network()


COMPONENT = Component(
    kind="model",
    name="example_torch",
    build=build,
    summary="two convolutions in torch; takes images of any size",
    options={
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "classes": {"type": "integer"},
            "width": {"type": "integer", "minimum": 1, "default": 16, "description": "Channels of the first."},
        },
    },
)
