"""EDNAG: architectures by evolutionary denoising, without any training."""
