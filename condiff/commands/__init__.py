"""The commands: a screen each, and what stands around every one of them."""
