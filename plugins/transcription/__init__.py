"""The logic of the DAG `transcription`: pure functions first, S3 and AWS Batch at the edges."""
