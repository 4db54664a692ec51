"""DiffusionNAG (An et al., ICLR 2024): score-based generation of architectures, guided by predictors."""
