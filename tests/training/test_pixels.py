"""Images that a network does not take are told before a step, with the role, both shapes and what to do."""

import re

import numpy as np
import pytest
import torch
from distilling import CLASSES, SIZE, fit, layers, made, net, same, snapshot

from kdrecipes import KD
from kdrecipes.backend import keras


def of(*shape):
    pixels = keras.Input(shape)
    axes = (1, 2) if shape[-1] in (1, 3, 4) else (2, 3)
    return keras.Model(pixels, layers.Dense(CLASSES)(keras.ops.mean(pixels, axes)))


class ChannelsFirst(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, CLASSES)

    def forward(self, image):
        return self.head(self.body(image).mean((2, 3)))


RGB, GREY = (SIZE, SIZE, 3), (SIZE, SIZE, 1)
ONE, THREE = "takes images of 1 channel, (None, 6, 6, 1)", "takes images of 3 channels, (None, 6, 6, 3)"
GIVEN_ONE = "is given images of 1 channel, (20, 6, 6, 1)"
GIVEN_THREE = "is given images of 3 channels, (20, 6, 6, 3)"
OWN = "Teacher and student are shown the same images: let a model begin with what makes of them its own"
LAST = "pixels are channels-last, (batch, height, width, channels)"
CASES = {
    "grey student": (RGB, {"student": of(*GREY)}, f"The student {ONE}, and {GIVEN_THREE}"),
    "grey images": (GREY, {"student": of(*RGB)}, f"The student {THREE}, and {GIVEN_ONE}"),
    "RGB teacher of a grey student": (
        GREY, {"student": of(*GREY), "teacher": net()},
        f"The teacher {THREE}, and {GIVEN_ONE}. {OWN}, such as keras.layers.Concatenate()([image, image, image]).",
    ),
    "grey teacher": (
        RGB, {"teacher": {"a": of(*GREY), "b": net()}},
        f"The teacher 'a' {ONE}, and {GIVEN_THREE}. {OWN}, such as keras.ops.image.rgb_to_grayscale(image).",
    ),
    "four channels": (RGB, {"teacher": of(SIZE, SIZE, 4)}, f"{GIVEN_THREE}. {OWN}."),
    "another size": (
        RGB, {"student": of(9, 9, 3)},
        "The student takes images of 9 × 9 pixels, (None, 9, 9, 3), and is given (20, 6, 6, 3). Resize the images, or "
        "put keras.layers.Resizing(9, 9) in front of it.",
    ),
    "channels first": (
        RGB, {"teacher": of(3, SIZE, SIZE)},
        f"The teacher takes channels first, (None, 3, 6, 6), and is given (20, 6, 6, 3): {LAST}. Put "
        "keras.layers.Permute((3, 1, 2)) in front of it.",
    ),
    "images with channels first": (
        (3, SIZE, SIZE), {"student": of(*RGB)},
        f"The student takes (None, 6, 6, 3) and is given (20, 3, 6, 6): {LAST}. Permute the images first: "
        "images.transpose(0, 2, 3, 1).",
    ),
    "torch module with channels first": (
        RGB, {"teacher": ChannelsFirst()},
        f"The teacher takes channels first, and is given (20, 6, 6, 3): {LAST}. Permute first in its forward: "
        "images.permute(0, 3, 1, 2).",
    ),
    "no channels": (
        (SIZE, SIZE), {"student": of(*GREY)},
        f"The student takes images, (None, 6, 6, 1), and is given (20, 6, 6): {LAST}.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("shape", "networks", "message"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("kept", [False, True], ids=["asked", "cached"])
def test_images_that_a_network_does_not_take_are_told_before_a_step(shape, networks, message, kept):
    images = np.zeros((20, *shape), "float32")
    if kept and "teacher" not in networks:
        pytest.skip("no teacher to ask")
    distiller = made(**networks, loss=KD() if "teacher" in networks else (), cache_teacher=kept)
    before = snapshot(distiller.student)
    with pytest.raises(ValueError, match=re.escape(message)):
        fit(distiller, images, np.zeros(20, "int64"), batch_size=20)
    assert same(before, snapshot(distiller.student))


def test_evaluate_and_predict_say_it_too():
    distiller, images = made(of(*GREY)), np.zeros((20, *RGB), "float32")
    for call in (
        lambda: distiller.evaluate(images, np.zeros(20), verbose=0),
        lambda: distiller.predict(images, verbose=0),
    ):
        with pytest.raises(ValueError, match="The student takes images of 1 channel"):
            call()


@pytest.mark.parametrize("size", [SIZE, SIZE + 3])
def test_images_that_fit_are_taken(data, size):
    fit(made(of(None, None, 3), teacher=net(1, size=size), loss=KD()), *data)


def test_other_errors_of_a_torch_module_stay_as_they_are(data):
    class Fails(ChannelsFirst):
        def forward(self, image):
            raise RuntimeError("of its own")

    with pytest.raises(RuntimeError, match="of its own"):
        fit(made(teacher=Fails(), loss=KD()), *data)
