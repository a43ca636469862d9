"""Random modules and losses on which `metatui.meta_gradient` is compared with plain autograd."""
