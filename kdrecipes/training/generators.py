"""The random generators of the process, as a state keeps them: torch's, NumPy's and Python's."""

from __future__ import annotations

import base64
import random
from typing import Any

import numpy as np
import torch

from kdrecipes.backend import current_device


def taken() -> dict[str, Any]:
    """Where the generators stand, JSON-able; of torch's those of the CPU and of the device in use."""
    words = np.random.get_state(legacy=False)
    kind, numbers, gauss = random.getstate()
    device = torch.device(current_device()).type
    return {
        "torch": {name: _text(state()) for name, state in _STATES.items() if name in ("cpu", device)},
        "numpy": {**words, "state": {**words["state"], "key": words["state"]["key"].tolist()}},
        "python": [kind, list(numbers), gauss],
    }


def put_back(taken: dict[str, Any]) -> None:
    """Let the generators stand where they stood; those of a device that is not in use are left alone."""
    device = torch.device(current_device()).type
    for name, text in taken["torch"].items():
        if name in ("cpu", device):
            _SETTERS[name](torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8))
    words = taken["numpy"]
    np.random.set_state({**words, "state": {**words["state"], "key": np.array(words["state"]["key"], np.uint32)}})
    kind, numbers, gauss = taken["python"]
    random.setstate((kind, tuple(numbers), gauss))


def _text(state: torch.Tensor) -> str:
    return base64.b64encode(state.cpu().numpy().tobytes()).decode()


_STATES = {"cpu": torch.get_rng_state, "cuda": lambda: torch.cuda.get_rng_state(), "mps": torch.mps.get_rng_state}
_SETTERS = {"cpu": torch.set_rng_state, "cuda": lambda s: torch.cuda.set_rng_state(s), "mps": torch.mps.set_rng_state}
