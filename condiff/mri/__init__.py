"""MR physics: Fourier transforms, coils, masks, signal equations, classical reconstruction. Images are complex tensors."""
