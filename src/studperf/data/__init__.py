"""From a file to checked, split and encoded tensors."""
