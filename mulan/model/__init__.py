"""The networks: front ends, towers, the models of each objective, and exported models."""
