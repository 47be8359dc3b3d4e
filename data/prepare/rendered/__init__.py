"""Foregrounds rendered from 3-D strands, surfaces and volumes, with exact alpha."""
