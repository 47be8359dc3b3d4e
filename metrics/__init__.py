"""Scores of alpha mattes."""
