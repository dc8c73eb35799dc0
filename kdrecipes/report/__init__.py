"""The report: from a run folder to numbers, words and pages.

Import `facts` (what a run writes down), `build` (report.json, report.html, the model card), `table` and `figures`.
It may import `recipe` and the rooms below, NumPy, and neither torch nor Keras. Its neighbours: `runs` above writes the
facts, `cli` shows the table; `training` stands beside it, and the two never import each other.
"""
