"""Batch work over folders and clips."""
