"""The networks on large images in bounded memory: predictor, strips, tiles, memory budget."""
