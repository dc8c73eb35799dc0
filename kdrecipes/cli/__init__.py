"""The command line: one file a verb; stdout is the result, stderr progress and problems.

Import `main.main` (the console script) and `main.app`. No room imports `cli`; it may import `runs` and the rooms below,
and torch and Keras only inside a verb. Its neighbours: `runs` does the work, `report` words the result.
"""

from __future__ import annotations

import gc

# Importing makes much that stays and little garbage: to look for it as often as Python does takes a twentieth of what
# `kdrecipes validate` takes. A run, which lives long, gets Python's own thresholds back.
OWN_THRESHOLDS = gc.get_threshold()
gc.set_threshold(50_000)
