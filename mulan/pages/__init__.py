"""HTML pages: their rendering and their common style."""
