"""Data: from a source to batches (prepare, splits, store, views, loader).

Import `prepare` (the splits of a recipe), `loader` (their batches) and `views` (what networks see of an image).
It may import `recipe` and the rooms below that. `components.datasets` gives the sources; `training` above takes the
batches, `runs` above asks for both.
"""
