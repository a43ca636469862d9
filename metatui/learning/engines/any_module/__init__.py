"""Meta-gradients of arbitrary modules with plain autograd, and a check that faster engines give the same results."""
