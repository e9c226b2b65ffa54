"""Audio towers, the text tower, and their pretrained networks."""
