"""Reading, checking, compositing and augmenting images, as functions on arrays."""
