"""SFTP servers as destinations."""
