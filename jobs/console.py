"""Where jobs print."""

from rich.console import Console

CONSOLE = Console(highlight=False, markup=False)
"""Prints text as it is: names of files and other people's errors may look like markup."""
