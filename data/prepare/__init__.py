"""Preparation of training and benchmark sets."""
