"""Instruments around the steps of a run on its workers: profiles of steps, and the stacks of a step that hangs."""
