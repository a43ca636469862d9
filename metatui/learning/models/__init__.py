"""Built-in models, one in each module. The name of the module is the name of the model."""
