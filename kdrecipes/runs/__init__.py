"""Runs: the straight line from a recipe to a report (run.py), and its steps, one module each.

It imports training, report, data and all below them.
Its neighbours: `cli` and `testing`, which alone import it; `training` and `report`, which do its work.
"""
