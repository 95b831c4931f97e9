"""Files: rows of the stage become bytes, and files in the outbox."""
