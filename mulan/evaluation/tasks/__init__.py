"""Tasks: what public data sets, and corpora of one's own, are evaluated on. One small file for each."""
