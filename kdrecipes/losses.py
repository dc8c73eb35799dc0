"""The distillation terms: `kdrecipes.losses.DKD(alpha=1.0, beta=8.0)` is one, for `Distiller(loss=…)`.

Each class says its formula and its paper; `kdrecipes list losses` shows them all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kdrecipes.components.losses import TERMS

if TYPE_CHECKING:
    from kdrecipes.components.losses.attention import Attention as Attention
    from kdrecipes.components.losses.ctkd import CTKD as CTKD
    from kdrecipes.components.losses.dist import DIST as DIST
    from kdrecipes.components.losses.fsp import FSP as FSP
    from kdrecipes.components.losses.hint import Hint as Hint
    from kdrecipes.components.losses.kd import KD as KD
    from kdrecipes.components.losses.nst import NST as NST
    from kdrecipes.components.losses.pkt import PKT as PKT
    from kdrecipes.components.losses.rkd import RKD as RKD
    from kdrecipes.components.losses.similarity_preserving import SimilarityPreserving as SimilarityPreserving
    from kdrecipes.components.losses.vid import VID as VID
    from kdrecipes.components.losses.wkd_features import WKDFeatures as WKDFeatures

_MODULES = {name: f"kdrecipes.components.losses.{module}" for module, name in TERMS.items()}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'kdrecipes.losses' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
