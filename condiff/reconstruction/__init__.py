"""Accelerated scans: from undersampled k-space and a prior to images with their uncertainty."""
