"""NIfTI files, in folders of any layout or of BIDS."""
