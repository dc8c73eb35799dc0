"""`python -m kdrecipes`."""

from kdrecipes.cli import main

main()
