"""What Airflow, the worker and the stack agree on; needs the standard library alone."""

__version__ = "1.0.0"
