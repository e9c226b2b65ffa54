"""The training algorithm: the loop, the step, its engines and validation, independent of storage and launcher."""
