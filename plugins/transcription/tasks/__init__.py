"""The tasks of the DAG, a module each."""
