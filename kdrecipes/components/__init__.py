"""Components: what a recipe can name (losses, models, datasets, callbacks), and how plugins provide and register it.

It imports the disk and the ground; torch and Keras only inside builders, so that listing and validating stay quick.
Its neighbour above is `recipe`, which names components; `data` and `training` use what builders give.
"""
