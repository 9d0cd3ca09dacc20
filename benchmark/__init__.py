"""Speed and words of the worker, and the plan at any size: `make bench`, `make bench-plan`."""
