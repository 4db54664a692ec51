"""Gets artifacts measured on devices. Knows nothing about architectures or search spaces."""
