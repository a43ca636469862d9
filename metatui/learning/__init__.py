"""The core: tasks, models, algorithms, engines and the trainer. It is independent of terminals and run folders."""
