"""Update rules as generated kernels, one text for the GPU and for the CPU's compiler (docs/kernels.md)."""
