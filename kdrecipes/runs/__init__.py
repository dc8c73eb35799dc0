"""Runs: the straight line from a recipe to a report (run.py), and its steps, one module each.

Import `run.run` and `dry_run.dry_run`; the other modules are their steps. `testing` uses some of these as well.
It may import `training`, `report`, `data` and the rooms below. Its neighbours: `training` and `report` do its work;
`cli` and `testing` above are the only rooms that import it.
"""
