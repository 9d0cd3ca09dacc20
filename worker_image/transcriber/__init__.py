"""Transcribes the recordings of one manifest: audio in S3 in, transcripts in S3 out."""

# Part of the settings fingerprint: a version that changes transcripts makes old ones be done again.
__version__ = "1.0.0"
