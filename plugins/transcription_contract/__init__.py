"""The definitions that Airflow, the worker and the stack share. They need only the standard library."""

__version__ = "1.0.0"
