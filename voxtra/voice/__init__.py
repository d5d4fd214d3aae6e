"""The ClutchCall Voice client: calls over HTTP, their sound frame by frame."""
