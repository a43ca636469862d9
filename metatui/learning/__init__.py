"""The core: tasks, models, algorithms, engines and the trainer. It knows torch, but no terminal and no run folder."""
