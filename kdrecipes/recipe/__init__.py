"""Recipes: from text to a frozen, typed `Recipe`; files, overrides, `extends`, validation, defaults, schemas.

Import `load.load_recipe`, `tables` (what a recipe holds), `effective`, `editor_schema` and `scaffold`; the others are
their steps.
It may import `components` and the rooms below, never torch or Keras. Its neighbours: `components` below says what a
recipe can name; `data`, `training` and `runs` above read recipes.
"""
