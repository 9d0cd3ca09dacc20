"""Runs DeepSpeech 0.9 models in batches: docs/batched-engine.md describes the graph and its arithmetic."""
