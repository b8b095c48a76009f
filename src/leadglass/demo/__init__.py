"""The whole path on real images, in a temporary folder and on free loopback ports."""
