"""Scores of an estimate against its clean reference, a metric a file."""
