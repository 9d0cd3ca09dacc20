"""Runs the DAG once, in a container of AWS Batch, where Amazon MWAA is not used."""
