"""The names of timm's networks, read from its files: nothing of it is imported, and no torch."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

INSTALL = "pip install 'kdrecipes-timm[timm]'"
_REGISTERED = re.compile(r"^@register_model\s*\ndef (\w+)\(", re.MULTILINE)


def names() -> dict[str, list[str]]:
    """What the option `model` takes, as timm.list_models() names it: `{"model": ["bat_resnext26ts", …]}`.

    Raises:
        ModuleNotFoundError: timm is not installed.
    """
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"timm is not installed. Install it: `{INSTALL}`", name="timm")
    files = (Path(spec.origin).parent / "models").glob("*.py")
    return {"model": sorted(name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8")))}
