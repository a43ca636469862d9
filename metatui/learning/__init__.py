"""The core: tasks, models, algorithms, engines and the trainer. It knows torch, and neither terminals nor run folders."""
