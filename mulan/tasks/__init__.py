"""Tasks, which define what is trained: one module for each objective."""
