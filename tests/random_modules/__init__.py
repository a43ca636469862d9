"""Random modules and losses, to compare `metatui.meta_gradient` with plain autograd."""
