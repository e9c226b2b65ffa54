"""Decoding of audio files of any format to int16 mono windows at the model's sample rate."""
