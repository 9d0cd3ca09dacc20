"""The transcription pipeline's infrastructure: one CDK stack, one module a concern."""
