"""Puts this folder on the import path, for helpers that several test folders share."""
