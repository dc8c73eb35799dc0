"""What tests of the distiller are given: twenty images with labels, and a teacher."""

import numpy as np
import pytest
from distilling import CLASSES, EXAMPLES, SIZE, net


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    images = (generator.random((EXAMPLES, SIZE, SIZE, 3)) * 255).astype("float32")
    return images, generator.integers(0, CLASSES, EXAMPLES)


@pytest.fixture(scope="module")
def teacher():
    return net(1, width=3)
