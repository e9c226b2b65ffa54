"""Evaluation of exported models: zero-shot tagging, text-to-music retrieval, the shuffled-label control, the report."""
