"""What the site's reference pages show of the code, and how the site is built."""
