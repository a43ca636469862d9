"""The adaptation explorer: any held-out task, or one that is drawn, step by step and at any inner learning rate."""
