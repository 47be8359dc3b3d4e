"""Safe reading of weight files, published layouts and initial weights."""
