"""The pipeline: a run, from due windows to delivered files."""
