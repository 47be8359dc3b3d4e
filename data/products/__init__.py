"""Cut-outs, composites, clips and previews."""
