"""Models that vLLM runs in processes of this one."""
