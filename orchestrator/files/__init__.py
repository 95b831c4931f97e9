"""Files: rows of the stage become lines, lines become files, and files get into the outbox."""
