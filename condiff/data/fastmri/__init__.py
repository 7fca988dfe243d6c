"""fastMRI's files: volumes, their headers and k-space."""
