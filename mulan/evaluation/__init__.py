"""After training: zero-shot tagging, text-to-music retrieval, the control that must fail, and the report."""
