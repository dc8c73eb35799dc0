"""Training: one fit (the distiller, its steps, optimiser, state), and networks at rest (inference, features, files).

It imports `fast`, data and all below them, never `report`; only `runs` and `testing` import it.
Its neighbours are `runs` above, and `data`, which feeds it.
"""
