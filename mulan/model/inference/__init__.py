"""Exported models: their file format, and their use for embedding audio and text."""
