"""What a platform is, for whoever places, checks or lints: layouts, host memory, command lines, device trees."""
