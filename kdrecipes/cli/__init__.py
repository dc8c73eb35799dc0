"""The command line: one file a verb; stdout is the result, stderr progress and problems.

Import `main.main` (the console script) and `main.app`. No room imports `cli`; it may import `runs` and the rooms below,
and torch and Keras only inside a verb. Its neighbours: `runs` does the work, `report` words the result.
"""
