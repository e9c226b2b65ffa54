"""The origins of the values of each paper's recipes, which :mod:`mulan.recipes.table` renders beside the values."""
