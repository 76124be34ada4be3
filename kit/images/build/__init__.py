"""Building an image from a Dockerfile: reading it, copying from the context, running programs."""
