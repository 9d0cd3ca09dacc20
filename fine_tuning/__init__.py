"""From a folder of recordings and texts to a model and a scorer for the pipeline: `make fine-tune`."""
