"""Loss terms over the global batch, how they are summed, and the collectives they need."""
