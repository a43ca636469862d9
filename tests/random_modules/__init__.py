"""Random modules and losses, to hold `metatui.meta_gradient` against plain autograd."""
