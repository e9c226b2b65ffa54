"""Reports of evaluations: ``report.json``, a self-contained page, and a table on the console."""
