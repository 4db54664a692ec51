"""Score networks that ship with the package (safetensors; each header holds its configuration)."""
