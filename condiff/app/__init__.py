"""The explorer: a page in the browser, on this machine alone, to use a trained model."""
