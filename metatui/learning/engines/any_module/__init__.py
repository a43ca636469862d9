"""Meta-gradients of any module: plain autograd, and the check that a faster engine agrees with it."""
