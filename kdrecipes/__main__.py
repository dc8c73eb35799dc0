"""`python -m kdrecipes`."""

from kdrecipes.cli.main import main

main()
