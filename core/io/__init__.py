"""Files: written whole or not at all, weights in safetensors, weights of others."""
