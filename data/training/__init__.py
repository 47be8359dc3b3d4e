"""Training samples: sources, decoding, crops, augmentation and composition."""
