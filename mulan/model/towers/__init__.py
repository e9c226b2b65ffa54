"""Audio towers and the text tower, and the pretrained networks that they start from."""
