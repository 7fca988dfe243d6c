"""From files to `Sample(image, cond)`: fastMRI volumes, the phantom, transforms, conditioning."""
