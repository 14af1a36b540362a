"""Real servers and tools for keyfs's tests. README.md in this folder describes them."""
