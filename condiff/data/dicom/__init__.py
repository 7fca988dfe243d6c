"""DICOM series of MR images."""
