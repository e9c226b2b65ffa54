"""Audio towers, the text tower, and the loading of pretrained networks."""
