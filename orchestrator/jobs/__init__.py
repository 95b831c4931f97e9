"""Jobs: which windows of which export are to be built and delivered."""
