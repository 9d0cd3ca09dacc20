"""Makes a model and a scorer for the pipeline from a folder of recordings and texts: `make fine-tune`."""
