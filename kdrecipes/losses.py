"""The distillation terms: `kdrecipes.losses.DKD(alpha=1.0, beta=8.0)` is one, for `Distiller(loss=…)`.

Each class says its formula and its paper; `kdrecipes list losses` shows them all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kdrecipes.components.losses import TERMS

if TYPE_CHECKING:
    from kdrecipes.components.losses.abkd import ABKD as ABKD
    from kdrecipes.components.losses.attention import Attention as Attention
    from kdrecipes.components.losses.crd import CRD as CRD
    from kdrecipes.components.losses.ctkd import CTKD as CTKD
    from kdrecipes.components.losses.dist import DIST as DIST
    from kdrecipes.components.losses.dkd import DKD as DKD
    from kdrecipes.components.losses.fsp import FSP as FSP
    from kdrecipes.components.losses.hint import Hint as Hint
    from kdrecipes.components.losses.kd import KD as KD
    from kdrecipes.components.losses.kd_mse import KDMSE as KDMSE
    from kdrecipes.components.losses.lskd import LSKD as LSKD
    from kdrecipes.components.losses.mlkd import MLKD as MLKD
    from kdrecipes.components.losses.nkd import NKD as NKD
    from kdrecipes.components.losses.nst import NST as NST
    from kdrecipes.components.losses.ofa import OFA as OFA
    from kdrecipes.components.losses.ofa_logit import OFALogit as OFALogit
    from kdrecipes.components.losses.pkt import PKT as PKT
    from kdrecipes.components.losses.pld import PLD as PLD
    from kdrecipes.components.losses.review_kd import ReviewKD as ReviewKD
    from kdrecipes.components.losses.rkd import RKD as RKD
    from kdrecipes.components.losses.rld import RLD as RLD
    from kdrecipes.components.losses.similarity_preserving import SimilarityPreserving as SimilarityPreserving
    from kdrecipes.components.losses.simkd import SimKD as SimKD
    from kdrecipes.components.losses.soft_ce import SoftCE as SoftCE
    from kdrecipes.components.losses.srrl import SRRL as SRRL
    from kdrecipes.components.losses.teacher_free import TeacherFree as TeacherFree
    from kdrecipes.components.losses.ttm import TTM as TTM
    from kdrecipes.components.losses.vid import VID as VID
    from kdrecipes.components.losses.wkd_features import WKDFeatures as WKDFeatures
    from kdrecipes.components.losses.wsld import WSLD as WSLD
    from kdrecipes.components.losses.wttm import WTTM as WTTM

_MODULES = {name: f"kdrecipes.components.losses.{module}" for module, name in TERMS.items()}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'kdrecipes.losses' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
