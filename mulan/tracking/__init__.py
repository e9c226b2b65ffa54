"""Experiment trackers: the scalars, the evaluation and the model of a run in TensorBoard, MLflow and W&B."""
