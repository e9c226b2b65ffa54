"""A web server that searches a collection of music: a JSON API and a page that plays what it finds."""
