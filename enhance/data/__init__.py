"""Downloads, manifests, memory-mapped audio, shards, mixing."""
