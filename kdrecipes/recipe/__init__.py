"""Recipes: from text to a frozen, typed `Recipe`; files, overrides, `extends`, validation, defaults, schemas.

It imports components and all below them, never torch or Keras.
Its neighbours above are `data`, `report` and `runs`, which read recipes.
"""
