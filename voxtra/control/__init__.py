"""The HTTP face: the ClutchCall procedures and REST, for calls of an app."""
