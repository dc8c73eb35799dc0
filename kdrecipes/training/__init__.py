"""Training: one fit (the distiller, its steps, optimiser, state), and networks at rest (inference, features, files).

Import `distiller.Distiller`, `fit.fit`, `inference`, `state`, `saved_models` and `torch_modules`.
It may import `fast`, `data` and the rooms below, never `report`. Its neighbours: `data` feeds it, `fast` speeds it up,
`runs` above calls it; beside `runs` only `testing` imports it.
"""
