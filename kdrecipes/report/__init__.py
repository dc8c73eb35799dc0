"""The report: from a run folder to numbers, words and pages.

It imports the recipe and all below it, NumPy, and neither torch nor Keras; it and `training` never import each other.
Its neighbour above is `runs`, which writes down what it reads; `cli` shows it.
"""
