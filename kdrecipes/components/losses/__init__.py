"""The built-in distillation terms: one module a method.

Each is called with labels and two `Outputs`; `kdrecipes.losses` names their classes. `declared` makes a class a term.
Beside it are `models`, `datasets` and `callbacks`; `training` adds up the terms and projects features for them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from kdrecipes.components.hookspecs import Component, hookimpl
from kdrecipes.components.losses.declared import component_of

# The class of each term, by the module in this folder that holds it.
TERMS = {
    "kd": "KD",
    "kd_mse": "KDMSE",
    "soft_ce": "SoftCE",
    "dkd": "DKD",
    "lskd": "LSKD",
    "nkd": "NKD",
    "wsld": "WSLD",
    "ttm": "TTM",
    "wttm": "WTTM",
    "ofa_logit": "OFALogit",
    "teacher_free": "TeacherFree",
    "mlkd": "MLKD",
    "abkd": "ABKD",
    "rld": "RLD",
    "pld": "PLD",
    "dist": "DIST",
    "hint": "Hint",
    "ctkd": "CTKD",
    "vid": "VID",
    "attention": "Attention",
    "similarity_preserving": "SimilarityPreserving",
    "rkd": "RKD",
    "pkt": "PKT",
    "nst": "NST",
    "fsp": "FSP",
    "wkd_features": "WKDFeatures",
    "srrl": "SRRL",
    "simkd": "SimKD",
    "ofa": "OFA",
    "review_kd": "ReviewKD",
    "crd": "CRD",
}


@hookimpl
def kdrecipes_components() -> Iterable[Component]:
    """The loss components."""
    for module, name in TERMS.items():
        yield component_of(getattr(importlib.import_module(f"kdrecipes.components.losses.{module}"), name))
