"""PostgreSQL, one warehouse for many users."""
