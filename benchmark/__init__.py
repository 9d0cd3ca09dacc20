"""Benchmarks of the worker's speed and word errors (`make bench`) and of `plan` (`make bench-plan`)."""
