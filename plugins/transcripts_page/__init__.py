"""What stands behind the Transcripts page: the catalogue of runs, search, and corrections."""
