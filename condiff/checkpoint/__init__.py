"""A checkpoint from anywhere, read as plain values, and what it may construct."""
