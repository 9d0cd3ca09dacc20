"""The logic of the DAG `transcription`: pure functions first, S3 and AWS Batch at the edges."""

import logging

# Two lines of botocore for each client about where it found its endpoint and credentials are half of a task's log.
logging.getLogger("botocore").setLevel(logging.WARNING)
