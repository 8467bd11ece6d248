"""Manifests, memory-mapped audio, mixing."""
