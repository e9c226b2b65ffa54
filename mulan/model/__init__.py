"""The network: log-mel front end, audio and text towers, the joint model, and exported models."""
