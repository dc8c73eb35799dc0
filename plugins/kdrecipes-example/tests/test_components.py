"""Each component keeps its kind's contract."""

from kdrecipes import component
from kdrecipes.testing import check_callback, check_dataset, check_loss, check_model


def test_example_cnn():
    check_model(component("model", "example_cnn"), width=4)


def test_example_torch():
    check_model(component("model", "example_torch"), width=4)


def test_example_shapes():
    check_dataset(component("dataset", "example_shapes"), size=16)


def test_example_logits():
    check_loss(component("loss", "example_logits"))


def test_example_log():
    check_callback(component("callback", "example_log"), digits=2)
