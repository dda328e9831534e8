"""Formats of files, one module each, and what they share: how a user's own rows, images and token ids are read."""
