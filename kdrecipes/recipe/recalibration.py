"""After how few steps a student's batch-norm statistics are estimated anew where the recipe does not say."""

from __future__ import annotations

# Settled on validation, results/batch_norm.json: see studies/batch_norm.py.
FEW_STEPS = 100
BATCHES = 100
