"""A demo corpus of rendered music with known labels and noise."""
