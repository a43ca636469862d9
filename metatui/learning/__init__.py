"""The core of metatui: tasks, models, algorithms, engines and the trainer, independent of terminals and run folders."""
