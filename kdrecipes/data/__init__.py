"""Data: from a source to batches (prepare, splits, store, views, loader).

It imports the recipe and all below it.
Its neighbours above are `training`, which is fed by it, and `runs`.
"""
