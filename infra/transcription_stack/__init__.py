"""The transcription pipeline's infrastructure: one CDK stack, one module for each concern."""
