"""The disk: where things are kept and how they get there whole (home, files, locks, chunked arrays, cache, download).

Import `home`, `files` (atomic writing, locks), `chunked_array`, `cache`, `download` and `saved_facts` (what a saved
network's file says of itself); every room but `fast` may.
It imports the ground alone (`kdrecipes/*.py`). Its neighbour above is `components`, what a recipe can name.
"""
