"""Spark, for data that outgrow one machine."""
