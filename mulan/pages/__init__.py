"""Self-contained HTML pages: their rendering and their common style."""
