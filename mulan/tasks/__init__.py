"""What is trained: one module for each objective."""
