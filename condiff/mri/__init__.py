"""MR physics: Fourier transforms, coils, signal equations. Torch only; images are complex tensors here."""
