"""`python -m leadglass`: the same as the installed command."""

from leadglass.cli import main

main()
