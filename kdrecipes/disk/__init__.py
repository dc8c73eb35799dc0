"""The disk: where things are kept and how they get there whole (home, files, locks, chunked arrays, cache, download).

Every room but the ground may import it; it imports the ground alone (`kdrecipes/*.py`).
Its neighbour above is `components`, what a recipe can name.
"""
