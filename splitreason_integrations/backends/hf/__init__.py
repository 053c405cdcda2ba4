"""Models in this process, through transformers, on CPU or CUDA."""
