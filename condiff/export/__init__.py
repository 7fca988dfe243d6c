"""Models to give away: as a folder with a card, as ONNX, as a diffusers pipeline."""
