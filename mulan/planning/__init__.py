"""What a run will need, calculated before it is submitted: time, data, memory, checkpoints and money."""
