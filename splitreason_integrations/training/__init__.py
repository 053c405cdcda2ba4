"""Train the embedded pair, and train small models to offload; heavy imports happen on use."""
