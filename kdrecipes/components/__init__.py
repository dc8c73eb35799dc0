"""Components: what a recipe can name (datasets, models, losses, callbacks), and how plugins provide and register it.

Import `hookspecs` (what a component is), `contract` (what it must be), `registry` (which there are) and `outputs` (what
a loss is given). Below are the disk and the ground; above, `recipe` names components, and `data` and `runs` build them.
torch and Keras are imported inside builders only, so that listing and validating stay quick.
"""
