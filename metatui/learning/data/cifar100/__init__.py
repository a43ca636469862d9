"""CIFAR-100 (Krizhevsky 2009) with the class splits of FC100 and CIFAR-FS."""
