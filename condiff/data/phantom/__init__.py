"""The phantom: deformed MNI152 heads as multicoil k-space, in fastMRI's file format."""
