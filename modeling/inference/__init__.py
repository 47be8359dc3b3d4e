"""Networks on large images: predictor, strips, tiles and memory budget."""
