"""C functions of metatui's own: Winograd convolutions, and the fused first blocks of image networks."""
