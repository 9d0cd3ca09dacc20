"""Transcribes the recordings of one manifest: audio in S3 in, transcripts in S3 out."""
