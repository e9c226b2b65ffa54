"""The replay of a training step of a run, and the diagnosis of its outputs and gradients."""
