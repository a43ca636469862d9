"""The C functions of metatui: Winograd convolutions, and the fused first blocks of image networks."""
