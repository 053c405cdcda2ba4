"""This process and its children: the environment that they read, and how they end."""
