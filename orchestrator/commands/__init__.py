"""Commands other than a run: what one can ask, look at, or begin with."""
