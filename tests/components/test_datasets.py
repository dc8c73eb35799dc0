"""What all sources of data share: described options, light imports, one message for a missing split."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from kdrecipes.components.datasets import arrays, digits, fashion_mnist, file_list, folder, tfds
from kdrecipes.errors import RunError

pytestmark = pytest.mark.usefixtures("places")


@pytest.mark.parametrize("module", [arrays, digits, fashion_mnist, file_list, folder, tfds])
def test_options_are_a_closed_schema_and_each_is_described(module):
    component = module.COMPONENT
    jsonschema.Draft7Validator.check_schema(component.options)
    assert component.kind == "dataset" and component.summary
    assert component.options["additionalProperties"] is False
    assert "split" in component.options["properties"]
    assert all(option["description"] for option in component.options["properties"].values())


def test_importing_the_sources_is_light():
    heavy = ["tensorflow", "tensorflow_datasets", "sklearn", "PIL", "pyarrow", "torch", "keras"]
    code = (
        "import sys; from kdrecipes.components.datasets import arrays, digits, fashion_mnist, file_list, folder, tfds; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    root = str(Path(digits.__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": root}
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("build", [digits.build, fashion_mnist.build])
def test_a_missing_split_is_told_with_those_that_are_there(build):
    with pytest.raises(RunError, match=r"no split 'validation'; it has 'train', 'test'.*`validation = 0.1`"):
        build("validation")
    with pytest.raises(RunError, match=r"no split 'nope'; it has 'train', 'test'$"):
        build("nope")
