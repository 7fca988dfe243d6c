"""Quality of generated images relative to real ones, and a search for copies; no downloaded weights."""
