"""Meta-gradients of any module with plain autograd, and a check that a faster engine gives the same result."""
