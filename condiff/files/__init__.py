"""Files of strangers read with care, and files written whole."""
